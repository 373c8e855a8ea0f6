"""Methods by name: settings that belong together, as differences from the defaults of ``MSGRPOConfig``.

A preset is data, and a run does not record it, only the resulting settings. A further method is one more entry here.
Each entry says what it takes from its source and what is ours; ``docs/reference/methods.md`` has the sources in a
table.
"""

import math
from collections.abc import Mapping
from typing import Any, final

import attrs

from algorithms.method.config import MSGRPOConfig
from tsmg import InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class Preset:
    """A named method.

    Attributes:
      about: what it is for; a sentence without a full stop.
      fixed: the settings of ``MSGRPOConfig`` that make the method, by name; without them it would be another one.
      suggested: settings that go with it, and may be overridden. All that is in neither keeps its default.
      source: where the method is from, and which parts are taken from there.
      ours: what differs from the source, or is added.
    """

    about: str
    fixed: Mapping[str, Any] = attrs.field(factory=dict)
    suggested: Mapping[str, Any] = attrs.field(factory=dict)
    source: str = ""
    ours: str = ""

    def __attrs_post_init__(self) -> None:
        MSGRPOConfig(**self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the method."""
        return {**self.suggested, **self.fixed}

    def check(self, given: Mapping[str, object], *, name: str) -> None:
        """Refuse settings that would turn it into another method.

        Args:
          given: further settings that the user gave.
          name: of the method, for messages.

        Raises:
          InvalidArgumentError: one differs from what the method fixes.

        Example:
          >>> PRESETS["pods"].check({"sampling": "all"}, name="pods")
          Traceback (most recent call last):
          ...
          tsmg.errors.InvalidArgumentError: the method 'pods' is not 'pods' with 'sampling' 'all': it needs \
'max_variance'; leave one of the two out
        """
        for setting, value in self.fixed.items():
            if setting in given and given[setting] != value:
                raise InvalidArgumentError(
                    f"the method {name!r} is not {name!r} with {setting!r} {given[setting]!r}: it needs {value!r}; "
                    "leave one of the two out"
                )

    def differences(self, overridden: Mapping[str, object]) -> str:
        """How the method differs from the default, in words.

        Args:
          overridden: further settings that the user gave, which replace the method's.

        Example:
          >>> PRESETS["ms-grpo-corrected"].differences({"floor": 0.2})
          "std 'none' (default 'auto'), corrected True (default False)"
          >>> PRESETS["ms-grpo"].differences({})
          'no setting but the defaults'
        """
        fields = attrs.fields_dict(MSGRPOConfig)
        return (
            ", ".join(
                f"{name} {value!r} (default {fields[name].default!r})"
                for name, value in self.settings.items()
                if overridden.get(name, value) == value != fields[name].default
            )
            or "no setting but the defaults"
        )

    def description(self, overridden: Mapping[str, object]) -> str:
        """``differences``, and on lines of their own what is from the source, and what is ours."""
        lines = [self.differences(overridden)]
        lines += [f"  [source] {self.source}"] if self.source else []
        lines += [f"  [ours] {self.ours}"] if self.ours else []
        return "\n".join(lines)


_WHOLE = {"credit": "episode", "sampling": "all"}
_GRPO = {**_WHOLE, "baseline": "mean", "std": "sample"}
_CENTRED = {**_WHOLE, "baseline": "mean", "std": "none"}
_NO_KL = {"kl_coefficient": 0.0}
_CRITIC = {"credit": "critic", "sampling": "all", "baseline": "none", "std": "none"}

PRESETS: Mapping[str, Preset] = {
    "ms-grpo": Preset(
        about="MS-GRPO as the defaults have it", fixed={"credit": "episode", "sampling": "aaw"}
    ),
    "ms-grpo-corrected": Preset(
        about="on average in the direction of the true gradient, whatever the returns and the starts are "
        "(with --credit episode or reward_to_go, --weighting constant)",
        fixed={"sampling": "aaw", "std": "none", "corrected": True},
        suggested={"floor": 0.1},
    ),
    "grpo": Preset(
        about="returns minus the group's mean, divided by its std; each episode counts alike",
        fixed={**_GRPO, "weighting": "sequence"},
        source="arXiv:2402.03300: advantages, each token weighted by 1 over its output's length, clipping, the KL in "
        "the loss (k3). The std is that of the sample, as in TRL and verl.",
        ours="an episode is what an output is there, so that its length is that of all its replies; the default KL "
        "coefficient and clip.",
    ),
    "dr-grpo": Preset(
        about="returns minus the group's mean; each token counts alike",
        fixed={**_CENTRED, "weighting": "constant"},
        suggested=_NO_KL,
        source="arXiv:2503.20783, by verl's page: no std, a constant in place of the output's length, no KL.",
        ours="the constant is the number of episodes, not a length.",
    ),
    "rloo": Preset(
        about="returns minus the mean of the group's other episodes",
        fixed={**_WHOLE, "baseline": "leave_one_out", "std": "none", "weighting": "constant"},
        source="arXiv:2402.14740, by verl's and TRL's code: the baseline; no std; a whole output is one action.",
        ours="ratios of tokens are clipped, not of outputs; the KL is in the loss, not in the reward, with the default "
        "coefficient.",
    ),
    "gigpo": Preset(
        about="the episode's advantage, plus that of the step among steps of equal observation",
        fixed={"credit": "anchor_state", "sampling": "all", "baseline": "mean"},
        suggested={"anchor_weight": 1.0, "std": "none", "eps": 1e-6, "weighting": "token"},
        source="arXiv:2505.10978 and the code of verl-agent: both advantages and their weight, without std (its "
        "'mean_norm'; --std sample is 'mean_std_norm'), the mean over tokens.",
        ours="the mean and the std of returns are over episodes, as in the paper, where that code has them over steps; "
        "the discount is the game's, also of the episode's return, which that code does not discount; an anchor is all "
        "that the agent read; equal observations only, none that are merely similar; the penalty of invalid replies is "
        "the game's; the default KL.",
    ),
    "salt": Preset(
        about="GRPO whose advantages are averaged over equal steps of a group's episodes",
        fixed={"credit": "shared_steps", "sampling": "all", "baseline": "mean"},
        suggested={"std": "sample", "weighting": "token"},
        source="arXiv:2510.20022, by the page of an implementation of its Algorithm 1 and by section A.3 of "
        "arXiv:2609.28963: GRPO's advantages; a step is the last three actions with what was read after them, the "
        "action, and the same of the next state; the mean over all occurrences of a step.",
        ours="equal texts only, none that are merely similar; what an agent would read at the end closes its last "
        "step; the mean over tokens; the default KL.",
    ),
    "reinforce++": Preset(
        about="rewards-to-go, whitened over the batch",
        fixed={
            "credit": "reward_to_go",
            "sampling": "all",
            "baseline": "none",
            "std": "none",
            "batch_rule": "whitened",
        },
        suggested={"weighting": "token"},
        source="arXiv:2501.03262, by the code of OpenRLHF and verl: rewards-to-go of tokens without a baseline, "
        "whitened over the tokens of the batch, with the std of the population, as in OpenRLHF.",
        ours="the KL is in the loss, not in the rewards; rewards are those of steps, discounted from the first one; "
        "eps is added to the std.",
    ),
    "reinforce++-baseline": Preset(
        about="returns minus the group's mean, whitened over the batch",
        fixed={**_CENTRED, "batch_rule": "whitened"},
        suggested={"weighting": "token"},
        source="arXiv:2501.03262, by the code of verl and OpenRLHF: the group's mean, then whitened over the tokens of "
        "the batch, with the std of the population, as in OpenRLHF.",
        ours="the KL estimate is k3; eps is added to the std.",
    ),
    "lite-ppo": Preset(
        about="returns minus the group's mean, divided by the std of the batch's returns; the mean over tokens",
        fixed={**_CENTRED, "batch_rule": "return_std", "weighting": "token"},
        suggested={**_NO_KL, "eps": 1e-6},
        source="arXiv:2508.08221, by the code of ROLL and TRL's page: both normalisations, the mean over tokens, no "
        "KL.",
        ours="the whole episode's advantage for each of its steps; no further whitening, no clip of advantages and no "
        "dual clip, which ROLL's configuration has besides.",
    ),
    "dapo": Preset(
        about="GRPO on groups with signal alone, played again until there are enough; the mean over tokens",
        fixed={**_GRPO, "group_filter": "signal", "weighting": "token"},
        suggested={**_NO_KL, "max_plays": 10, "clip_high": 0.28},
        source="arXiv:2503.14476, by verl's page: dynamic sampling with at most 10 plays, the mean over tokens, the "
        "clip range up to 1.28, no KL.",
        ours="signal is by returns with their penalties, where the source goes by success; a play is of as many groups "
        "as an update, there of three times as many; rewards are not shaped for length; too few groups are learnt "
        "from, where the source stops.",
    ),
    "gspo": Preset(
        about="GRPO with one probability ratio for each reply: the geometric mean of its tokens'",
        fixed={**_GRPO, "ratio": "gspo", "weighting": "sequence"},
        suggested={**_NO_KL, "clip_low": 3e-4, "clip_high": 4e-4},
        source="arXiv:2507.18071: the ratio, its clip range, each output counting alike.",
        ours="a sequence is a reply, and an episode's replies share its weight by their tokens; no KL, which the "
        "source's formulas leave out for brevity.",
    ),
    "cispo": Preset(
        about="GRPO with the clipped ratio as a constant weight, so that no token loses its gradient",
        fixed={**_GRPO, "ratio": "cispo", "weighting": "token"},
        suggested={**_NO_KL, "clip_low": math.inf},
        source="arXiv:2506.13585: the loss, without a lower limit of the ratio; no KL. The mean is over the tokens of "
        "the batch, as in verl.",
        ours="the upper limit, which the source tunes; no dynamic sampling and no penalty of length, which it adds; "
        "its formula has the mean over the tokens of each group.",
    ),
    "minpro": Preset(
        about="CISPO, its ratio times the least ratio of the reply's tokens before it",
        fixed={**_GRPO, "ratio": "minpro", "weighting": "token"},
        suggested={**_NO_KL, "clip_low": math.inf},
        source="arXiv:2601.22718, by two public summaries that write out its objective: the clipped weight of each "
        "token's log-probability, and the mean over tokens.",
        ours="a sequence is a reply; no lower limit of the weight, no KL and the mean over the tokens of the batch, as "
        "with CISPO; the upper limit.",
    ),
    "starpo-s": Preset(
        about="GRPO on the quarter of the groups whose returns vary most; the mean over tokens",
        fixed={**_GRPO, "group_filter": "variance", "weighting": "token"},
        suggested={
            **_NO_KL,
            "clip_high": 0.28,
            "kept_groups": 0.25,
            "eps": 1e-6,
            "entropy_coefficient": 0.001,
            "regulariser_schedule": "constant",
        },
        source="arXiv:2504.20073, by the code of RAGEN: the filter and its share, no KL, the entropy bonus, the clip "
        "range up to 1.28, the mean over tokens.",
        ours="advantages are GRPO's (RAGEN's option; its default has a critic); of fewer than four groups one is kept, "
        "there none.",
    ),
    "pods": Preset(
        about="GRPO on the K episodes of each group whose returns vary most",
        fixed={
            "credit": "max_variance",
            "sampling": "max_variance",
            "baseline": "mean",
            "std": "sample",
            "corrected": False,
            "replacement": False,
            "floor": 0.0,
            "scope": "group",
            "weighting": "sequence",
        },
        source="arXiv:2504.13818 and its code: the set of greatest variance, and GRPO's advantages within it.",
        ours="ties within equal returns are broken at random, ties of sets by the fewest of the greatest returns; the "
        "default KL.",
    ),
    "pf-ppo": Preset(
        about="episodes of the batch drawn with replacement by the size of their returns",
        fixed={
            "credit": "policy_filtration",
            "sampling": "aaw",
            "replacement": True,
            "scope": "batch",
            "corrected": False,
            "floor": 0.0,
        },
        suggested={"alpha": 2.0},
        source="arXiv:2409.06957, by verl's code: the draw in proportion to R^2.",
        ours="advantages are relative to the group and divided by its std, where the source has a critic and whitens "
        "before the draw; K episodes are drawn for each group, there as many as were played; a batch of returns that "
        "are all 0 is not learnt from; constant weights; the default KL.",
    ),
    "rae": Preset(
        about="returns minus a moving average of those of the role",
        fixed={
            "credit": "role_baseline",
            "sampling": "all",
            "baseline": "none",
            "std": "none",
            "weighting": "constant",
        },
        suggested={"baseline_decay": 0.95, **_NO_KL},
        source="SPIRAL, arXiv:2506.24119, by its code: the average before the episode, its decay, no std, no KL.",
        ours="the average moves after an update, by all its episodes, not between them.",
    ),
    "maxrl": Preset(
        about="returns minus the group's mean, divided by that mean",
        fixed={"credit": "mean_divided", "sampling": "all", "baseline": "mean", "std": "none"},
        suggested={**_NO_KL, "eps": 1e-6, "weighting": "token"},
        source="arXiv:2602.02710 and its code: the advantage, for success and failure; no KL.",
        ours="the divisor is the mean size of the returns, so that it stays above 0 where some are below it.",
    ),
    "empg": Preset(
        about="GRPO, more where the policy was sure, with a bonus for being sure next",
        fixed={**_GRPO, "batch_rule": "surprise"},
        suggested={"weighting": "token"},
        source="arXiv:2509.09265, by the pseudocode of its page: scaling, bonus, k = k' = 1 and zeta = 0.1, on GRPO's "
        "advantages, centred over the batch's steps.",
        ours="how sure is measured by -log p of the sampled tokens, since entropies are not recorded; the default KL.",
    ),
    "riskpo": Preset(
        about="by how far down the tracked distribution of the sums of five returns are",
        fixed={**_WHOLE, "batch_rule": "risk", "baseline": "none", "std": "none"},
        suggested={**_NO_KL, "weighting": "token"},
        source="arXiv:2510.00911, by its code and its script for MATH: bundles of five, levels 0.2 and 0.9, the tail's "
        "weight 1.5, no KL.",
        ours="quantiles are tracked, as its code means to, which drops them after each batch and uses each bundle's "
        "own; advantages are not divided by stds besides, which that script does; incomplete bundles are scaled up.",
    ),
    "ppo": Preset(
        about="generalised advantages over tokens by a value head on the policy's own network",
        fixed={**_CRITIC, "gae": "token"},
        suggested={"critic": "head", "batch_rule": "whitened", "weighting": "token"},
        source="PPO, arXiv:1707.06347, for language models by TRL's first PPO trainer: each token is an action, lambda "
        "0.95, a linear head on the last hidden states, half its squared error with the coefficient 0.1, whitening, "
        "the mean over tokens.",
        ours="the game's discount, from the start of the episode and between replies alone, where the source has 1 for "
        "all tokens; the head begins at 0, has no dropout, is fitted to returns, as verl does, and is not clipped; the "
        "std is the population's, and eps is added to it; the KL is in the loss, not in the rewards.",
    ),
    "turn-ppo": Preset(
        about="generalised advantages over turns by a critic of its own",
        fixed={**_CRITIC, "gae": "turn"},
        suggested={"gae_lambda": 0.9, "batch_rule": "whitened", "weighting": "token"},
        source="arXiv:2512.17008, by summaries of it: a turn is one action, a critic of turns, lambda 0.9.",
        ours="the critic is a small network over what the agent reads, fitted to the returns of the updates before "
        "(--critic head is one on the policy's own network); the game's discount, from the start of the episode, where "
        "the source has 0.99; ratios of tokens are clipped, not of turns; whitening, as PPO usually does; the default "
        "KL.",
    ),
    "hiper": Preset(
        about="generalised advantages of replies within a segment of one subgoal, and of segments; needs --subgoals",
        fixed={**_CRITIC, "gae": "subgoal"},
        suggested={
            "gae_lambda": 1.0,
            "segment_lambda": 0.95,
            "bootstrap": True,
            "batch_rule": "whitened_parts",
            "eps": 1e-8,
            "kl_coefficient": 0.01,
            "entropy_coefficient": 0.001,
            "regulariser_schedule": "constant",
            "weighting": "token",
        },
        source="HiPER, arXiv:2602.16165, by its code and its script for ALFWorld: the three parts of a reply and which "
        "tokens have which advantage, three values, lambda 1 within segments and 0.95 over them, each part whitened "
        "over replies, a value after episodes that were cut off, KL and entropy bonus, the mean over tokens.",
        ours="a small network over what is read and said for each value, fitted to the returns of the updates before; "
        "the game's discount, from the start of the episode, and its invalid rule; no penalties for keeping a subgoal "
        "or changing a kept one; after a cut comes the value of what would be read next; a token that straddles two "
        "parts belongs to the first; a reply without an action, or without the other parts, is divided in our way; "
        "tokens in no part count in the mean and in the KL.",
    ),
    "adora": Preset(
        about="GRPO, a tenth of it for groups whose good episodes are not longer than the bad ones",
        fixed={**_GRPO, "credit": "length_gated"},
        suggested={"weighting": "token", "eps": 1e-6},
        source="arXiv:2602.10019, by its code for language models: the comparison of lengths, the factor 0.1, eps.",
        ours="good is a return above the group's mean; episodes that the game's limit cut off are not among the bad, "
        "there those of 4,054 tokens and more; the default KL.",
    ),
    "vine": Preset(
        about="what each reply adds to the value of the state, which is the mean return of further episodes from it",
        fixed={
            "branching": "vine",
            "credit": "vine",
            "sampling": "all",
            "baseline": "none",
            "std": "none",
        },
        suggested={"rollouts": 9, "batch_rule": "whitened", "weighting": "token"},
        source="VinePPO, arXiv:2410.01679, by its code: the values, 9 rollouts from each state, one set for equal "
        "states, none of them trained on; whitening over the tokens of the batch, the mean over tokens.",
        ours="a state is that of the game and of what its agents remember, and a step is a reply; the game's discount, "
        "from the start of the episode; states late in an episode have values, too, as in its configuration for MATH; "
        "the std of the whitening is the population's, and eps is added to it; the default KL.",
    ),
    "tree": Preset(
        about="groups that are trees of episodes: returns compared in the group, and again within each tree",
        fixed={"branching": "tree", "credit": "tree", "sampling": "all", "baseline": "mean"},
        suggested={"trees": 2, "std": "sample", "eps": 1e-6, "weighting": "constant"},
        source="Tree-GRPO, arXiv:2509.21240, by its code: trees of one episode and branches from steps that are drawn "
        "uniformly, the sum of both advantages, the std of the sample, eps.",
        ours="one round of branching, as in its scripts; the trees of a group share its start; steps that episodes "
        "share are trained once, with the sum of their advantages; constant weights, not the mean over tokens; an "
        "episode alone in its tree has 0 as the second part; the default KL.",
    ),
}

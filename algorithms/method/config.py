"""Configuration as plain data: attrs fields that carry their own help text and rule.

Nothing slow is imported here, so that the command line can refuse bad settings at once.
"""

from typing import Literal

import attrs

from algorithms.method.advantages import BaselineKind, CriticKind, GaeSetting, StdKind
from algorithms.method.batch_rules import BATCH_RULES
from algorithms.method.branching import (
    BRANCHINGS,
    DEFAULT_ROLLOUTS,
    DEFAULT_TREES,
    check_branching,
)
from algorithms.method.clip_range import ClipRange
from algorithms.method.credit import CREDIT_RULES
from algorithms.method.episode_sampling import Scope
from algorithms.method.first_draw import SAMPLING_KINDS
from algorithms.method.group_filters import GROUP_FILTERS
from algorithms.method.importance import (
    DEFAULT_CAP,
    ImportanceKind,
    ImportanceLevel,
    ImportanceRule,
    find_importance_rule,
)
from algorithms.method.max_variance import EPISODE_DRAWS
from algorithms.method.setting_checks import check_critic, check_draw, check_owners
from algorithms.method.settings import one_of, option, rule_option, within
from algorithms.method.weighting import WeightingKind
from tsmg import Facts, InvalidArgumentError

Sharding = Literal["none", "zero1", "fsdp"]
Schedule = Literal["linear", "constant"]
GroupOn = Literal["initial_state", "initial_information", "nothing"]
START_NAMES = ("law", "learnability")  # of starts.START_RULES, which knows of groups
# of ratios.RATIOS, which needs torch
RATIO_NAMES = ("token", "gspo", "gspo-episode", "cispo", "minpro")


@attrs.frozen(kw_only=True)
class MSGRPOConfig:
    """Settings of MS-GRPO; every field has its help text, which the command line shows."""

    updates: int = option(
        200, "updates: each plays a batch, then makes an optimiser step for each epoch", within(1)
    )
    groups: int = option(32, "groups of episodes per update", within(1))
    group_size: int = option(16, "G, episodes per group", within(2))
    kept_episodes: int = option(
        8,
        "K, episodes per group that are trained on, at most G; without effect on --sampling all",
        within(1),
    )
    seed: int = option(0, "seed of every random draw of the run")
    learning_rate: float = option(
        6e-4,
        "initial learning rate; a pretrained checkpoint needs a far smaller one than a small cloned model",
        within(0.0, above=True),
    )
    schedule: Schedule = option(
        "linear", "learning-rate schedule: linear decay to 0, or constant", one_of
    )
    max_grad_norm: float = option(
        10.0, "norm to which larger gradients are clipped", within(0.0, above=True)
    )
    temperature: float = option(1.0, "sampling temperature in training", within(0.0, above=True))
    top_k: int = option(
        0, "number of most probable tokens that sampling is restricted to; 0: no limit", within(0)
    )
    top_p: float = option(
        1.0,
        "probability mass of the nucleus that sampling is restricted to",
        within(0.0, 1.0, above=True),
    )
    min_p: float = option(
        0.0,
        "least probability of a token that can be sampled, relative to the most probable token",
        within(0.0, 1.0, below=True),
    )
    max_reply_tokens: int = option(16, "maximum length of a reply, in tokens", within(1))
    std: Literal[StdKind, "auto"] = option(
        "auto",
        "standard deviation that advantages are divided by; auto: none if the members of a group share "
        "what the agents cannot see, otherwise population, which weights rare and nearly certain success more",
        one_of,
    )
    eps: float = option(1e-4, "constant added to the standard deviation", within(0.0))
    baseline: BaselineKind = option(
        "mean",
        "baseline subtracted from returns: the mean of the group, the mean of the other episodes, or none",
        one_of,
    )
    credit: str = rule_option(
        "episode",
        "return that a completion is credited with; episode: the whole episode's; reward_to_go: what was earned "
        "from its step on; turn: the same, compared at equal turns; anchor_state: the episode's, plus "
        "--anchor-weight times the reward-to-go compared at equal observations; max_variance: the episode's, compared "
        "with those of --sampling max_variance; mean_divided: the episode's, divided by the group's mean; "
        "length_gated: the episode's, a tenth of it where good episodes are not longer than bad ones; "
        "policy_filtration: the episode's, with draws by the size of the return; role_baseline: the episode's, minus a "
        "moving average of its role; critic: generalised advantages by --critic, over what --gae says; vine: what the "
        "state gained with each reply, by --branching vine; tree: the episode's, plus the same within its tree, of "
        "--branching tree; shared_steps: the episode's, averaged over equal steps of the group",
        CREDIT_RULES,
    )
    branching: str = rule_option(
        "none",
        "episodes of a group that begin in the middle of others; vine: --rollouts from each state, of which returns "
        "alone are used; tree: a group is --trees of episodes that branch, all trained on",
        BRANCHINGS,
    )
    rollouts: int = option(
        DEFAULT_ROLLOUTS, "episodes that --branching vine plays from each state", within(1)
    )
    trees: int = option(DEFAULT_TREES, "trees in a group of --branching tree", within(1))
    anchor_weight: float = option(
        1.0,
        "weight of the comparison at equal observations in --credit anchor_state",
        within(0.0),
    )
    baseline_decay: float = option(
        0.95,
        "decay, with every episode, of the moving average of --credit role_baseline",
        within(0.0, 1.0),
    )
    gae_lambda: float = option(
        0.95,
        "lambda of the generalised advantages of --credit critic; at 1 the gradient is the true one whatever the "
        "critic says",
        within(0.0, 1.0),
    )
    segment_lambda: float = option(
        0.95,
        "lambda of --gae subgoal over the segments that share a subgoal; --gae-lambda is the one over replies within "
        "a segment",
        within(0.0, 1.0),
    )
    gae: GaeSetting = option(
        "turn",
        "what the generalised advantages of --credit critic are over; turn: replies; token: all tokens of an episode, "
        "with the game's discount between replies; bi_level: replies, and then the tokens within each; subgoal: with "
        "--subgoals, replies within a segment of one subgoal, and segments",
        one_of,
    )
    critic: CriticKind = option(
        "text",
        "what says values to --credit critic; text: a small network of its own over what is read; head: a linear head "
        "on the last hidden states of the policy's own network, which it learns with",
        one_of,
    )
    value_coefficient: float = option(
        0.1,
        "coefficient of the loss of --critic head, half the squared error of each value",
        within(0.0, above=True),
    )
    bootstrap: bool = option(
        False,
        "let an episode that was cut off go on with the value that --credit critic gives to what would be read next: "
        "credit as in the game without its time limit",
    )
    batch_rule: str = rule_option(
        "none",
        "how advantages are compared over the batch, after each group's own comparison; whitened: minus their mean "
        "over the tokens, divided by their standard deviation; whitened_parts: the same over replies, for each part of "
        "the replies of --subgoals by itself; return_std: divided by that of all returns; surprise: more where the "
        "policy was sure; risk: by how far down bundles of returns are, whatever the credit",
        BATCH_RULES,
    )
    group_filter: str = rule_option(
        "all",
        "groups that are learnt from; signal: those whose returns are not all equal; variance: the share "
        "--kept-groups of them whose returns vary most. The loss is then a mean over the groups that passed",
        GROUP_FILTERS,
    )
    kept_groups: float = option(
        0.25,
        "share of the groups that pass --group-filter variance",
        within(0.0, 1.0, above=True),
    )
    max_plays: int = option(
        1,
        "how many times at most an update plays its groups, while fewer of them pass --group-filter than it has",
        within(1),
    )
    max_staleness: int = option(
        0,
        "how many updates older than the learning weights the playing weights may be: 0, or 1 to play the next update "
        "on an engine while this one is learnt (one step off)",
        within(0, 1),
    )
    sampling: str = rule_option(
        "aaw",
        "how the episodes to train on are drawn; aaw: with probability proportional to |A|^alpha; optimal: to the "
        "estimated size of the episode's gradient over the root of its tokens, for --corrected; uniform: at random; "
        "max_variance: the K whose returns vary most; all: every one",
        (*SAMPLING_KINDS, *EPISODE_DRAWS),
    )
    alpha: float = option(
        1.0, "exponent alpha of |A| in the probability of --sampling aaw", within(0.0)
    )
    floor: float = option(
        0.0,
        "share of the uniform distribution in each draw of --sampling aaw and optimal; above 0 every episode can be "
        "drawn, so that --corrected restores the whole loss under any credit",
        within(0.0, 1.0),
    )
    replacement: bool = option(False, "draw episodes with replacement; not with --sampling all")
    scope: Scope = option(
        "group",
        "draw within each group, or over the whole batch; not with --sampling all",
        one_of,
    )
    corrected: bool = option(
        False,
        "divide the weights of drawn episodes by their inclusion probabilities; restores the mean of the whole group, "
        "with --sampling aaw if the credit is episode or --floor above 0",
    )
    weighting: WeightingKind = option(
        "constant",
        "weight of a token; constant: equal; episode: divided by the completions of its episode; sequence: by its "
        "tokens; step: by the mean number of completions of the played episodes; token: by that of tokens",
        one_of,
    )
    ratio: str = rule_option(
        "token",
        "probability ratio of the surrogate; token: of each token; gspo: the geometric mean over each completion, or "
        "gspo-episode: over each episode, both of which need clip ranges near 3e-4; cispo: the clipped ratio of each "
        "token as the weight of its log-probability; minpro: the same, times the least ratio of the reply's tokens "
        "before it",
        RATIO_NAMES,
    )
    clip_low: float = option(
        0.2,
        "the probability ratio is clipped to at least 1 - clip_low; inf: no lower limit",
        within(0.0, above=True, infinite=True),
    )
    clip_high: float = option(
        0.2,
        "the probability ratio is clipped to at most 1 + clip_high; inf: no upper limit",
        within(0.0, above=True, infinite=True),
    )
    importance_weights: Literal[ImportanceKind, "none"] = option(
        "none",
        "importance weights for replies of a sampler that differs from the policy that learns, such as an engine; "
        "truncated: at most importance_cap; masked: 0 outside of [1 / importance_cap, importance_cap]; none: no "
        "correction, and none of the forward pass that it takes",
        one_of,
    )
    importance_level: ImportanceLevel = option(
        "token",
        "whether an importance weight is the ratio of probabilities of each token, of each completion (step), or of "
        "all completions of an episode",
        one_of,
    )
    importance_cap: float = option(
        DEFAULT_CAP,
        "cap of importance weights; inf, with --importance-weights truncated: no cap",
        within(1.0, above=True, infinite=True),
    )
    kl_coefficient: float = option(
        0.03, "initial coefficient beta of the KL to the reference policy", within(0.0)
    )
    entropy_coefficient: float = option(
        0.0, "initial coefficient eta of the entropy bonus", within(0.0)
    )
    regulariser_schedule: Schedule = option(
        "linear",
        "schedule of the KL and entropy coefficients: linear decay to 0, or constant",
        one_of,
    )
    zero_variance_groups: Literal["regularised", "skipped"] = option(
        "regularised",
        "groups whose returns are all equal; regularised: K of their episodes enter the loss, for its entropy and KL "
        "terms (with a credit other than episode, advantages may still differ); skipped: they do not, unless "
        "--sampling draws them like others (all, uniform)",
        one_of,
    )
    epochs: int = option(1, "optimiser steps on each batch, each on the whole of it", within(1))
    group_on: Literal[GroupOn, "auto"] = option(
        "auto",
        "what the members of a group share; initial_information: their starts look alike to the agents; auto: "
        "nothing in games of hidden information, else the initial state",
        one_of,
    )
    starts: str = rule_option(
        "law",
        "starts that groups begin on; law: as the game draws them; learnability: more often those that are neither "
        "always won nor always lost, of what the run has seen of each",
        START_NAMES,
    )
    start_floor: float = option(
        0.2,
        "share of the groups whose start the game draws, whatever --starts says",
        within(0.0, 1.0),
    )
    start_memory: float = option(
        0.9,
        "share of what --starts learnability knows of a start that is kept from update to update",
        within(0.0, 1.0),
    )
    start_pool: int = option(
        200,
        "greatest number of starts that --starts chooses among: all of the game's, or a sample that is drawn once",
        within(1),
    )
    correct_starts: bool = option(
        False,
        "multiply the loss of a group by the probability of its start in the game over that under --starts; restores "
        "the mean over the game's own starts",
    )
    common_chance: bool = option(
        False, "use the same chance draws of the game for all members of a group"
    )
    token_budget: int = option(
        4096,
        "maximum number of tokens in a forward pass of the update, each distinct prompt counted once",
        within(1),
    )
    sharding: Sharding = option(
        "none",
        "what is sharded among several processes: nothing, the optimiser state (zero1), or also the weights and "
        "gradients of the layers (fsdp)",
        one_of,
    )
    max_failure_rate: float = option(
        0.1,
        "greatest accepted share of episodes in which the game raised an error",
        within(0.0, 1.0),
    )

    def __attrs_post_init__(self) -> None:
        defaults = {field.name: field.default for field in attrs.fields(MSGRPOConfig)}
        settings = attrs.asdict(self, recurse=False)
        check_owners(settings, defaults)
        check_draw(settings, defaults)
        check_critic(settings)
        if self.sampling != "all" and self.kept_episodes > self.group_size:
            raise InvalidArgumentError(
                f"'kept_episodes' must be at most 'group_size' "
                f"(got {self.kept_episodes} > {self.group_size})"
            )
        if self.max_plays > 1 and self.group_filter == "all":
            raise InvalidArgumentError(
                f"'max_plays' must be 1 if 'group_filter' is 'all', since all groups count (got {self.max_plays})"
            )
        self.clip_range  # noqa: B018 - refuses what is no range
        self.importance_rule  # noqa: B018 - refuses settings that contradict each other
        check_branching(
            settings, group_size=self.group_size, rollouts=self.rollouts, trees=self.trees
        )

    @property
    def clip_range(self) -> ClipRange:
        """The range of probability ratios."""
        return ClipRange(low=self.clip_low, high=self.clip_high)

    @property
    def importance_rule(self) -> ImportanceRule | None:
        """How importance weights are made; ``None`` if there are none."""
        return find_importance_rule(
            self.importance_weights, level=self.importance_level, cap=self.importance_cap
        )


def resolved_group_on(config: MSGRPOConfig, facts: Facts) -> GroupOn:
    """What the members of a group share in a game with these facts, with ``auto`` resolved."""
    if config.group_on != "auto":
        return config.group_on
    return "nothing" if facts.perfect_information is False else "initial_state"


def resolved_std(config: MSGRPOConfig, facts: Facts) -> StdKind:
    """The standard deviation by which advantages are divided in a game with these facts, with ``auto`` resolved.

    If the members of a group share what the agents cannot see (the cards, the chance draws), dividing by the standard
    deviation can reverse which action is better: it differs between groups for reasons that no agent can act on
    (``docs/theory/06_baselines_and_std.md``).

    Theory: Equation 6.4.
    """
    if config.std != "auto":
        return config.std
    return "none" if shares_what_is_hidden(config, facts) else "population"


def shares_what_is_hidden(config: MSGRPOConfig, facts: Facts) -> bool:
    """Whether the members of a group share what the agents cannot see."""
    hidden = facts.perfect_information is False
    return config.common_chance or (hidden and resolved_group_on(config, facts) == "initial_state")

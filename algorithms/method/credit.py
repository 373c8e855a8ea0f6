"""Credit rules: from a group of episodes to an advantage per (episode, agent, completion).

Each rule compares returns with those of the group by ``group_relative_advantages``; they differ in which returns they
compare. Which episodes are trained on is decided by the whole-episode advantages, unless
the rule has scores of its own (``ScoringRule``).

Source: whole-episode credit is the paper's (arXiv:2508.10839) [paper]; the others name theirs, or are ours [ours].

Example:
  >>> import games, lap, tsmg
  >>> game = games.make("LineWalk-v0", length=4, horizon=4)
  >>> policy = lap.LanguageAgentPolicy(
  ...     model=lap.TabularModel(("left", "right")),
  ...     parser=lap.WholeReplyParser(),
  ...     sampling=lap.Sampling(max_reply_tokens=1),
  ... )
  >>> specs = [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=2, episode=e)) for e in range(4)]
  >>> group = tsmg.EpisodeGroup(episodes=tuple(tsmg.play(game, policy, specs)))
  >>> group.returns_G("walker"), [len(episode.steps) for episode in group.episodes]
  ((0.0, 0.0, 1.0, 1.0), [4, 3, 2, 4])
  >>> episode_advantages(group, "walker", std="none", eps=0.0)
  [-0.5, -0.5, 0.5, 0.5]
  >>> relative = functools.partial(group_relative_advantages, std="none")
  >>> whole_episode_credit(group, "walker", relative=relative)[3]
  [0.5, 0.5, 0.5, 0.5]
  >>> reward_to_go_credit(group, "walker", relative=relative)[3]
  [0.5, 0.5, 0.75, 0.75]
  >>> [round(a, 3) for a in turn_credit(group, "walker", relative=relative)[3]]
  [0.5, 0.5, 0.667, 0.5]
  >>> [round(a, 3) for a in anchor_state_credit(group, "walker", relative=relative)[3]]
  [1.167, 0.833, 0.833, 0.833]
  >>> rule = credit_rule("reward_to_go", std="none", eps=0.0)
  >>> rule(group, "walker") == reward_to_go_credit(group, "walker", relative=relative)
  True

Rules of published methods that do not look at steps are in ``episode_credit``.
"""

import functools
import importlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, final, runtime_checkable

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import (
    Advantage,
    BaselineKind,
    CriticKind,
    GaeSetting,
    StdKind,
    group_relative_advantages,
)
from algorithms.method.batch import rewards_to_go
from algorithms.method.branch_credit import tree_credit, vine_credit
from algorithms.method.episode_credit import (
    Group,
    PolicyFiltration,
    Relative,
    RoleBaseline,
    length_gated_credit,
    max_variance_credit,
    mean_divided_credit,
    over_episodes,
)
from algorithms.method.rules import made_rule
from algorithms.method.shared_steps import shared_step_credit
from tsmg import AgentStep, Episode, Step


class CreditRule(Protocol):
    """A function from a group's rewards to advantages of single completions."""

    def __call__(self, group: Group, agent: str) -> Sequence[Sequence[Advantage]]:
        """For each episode of the group, an advantage per completion of the agent, or a row of one per token of it."""
        ...


@runtime_checkable
class ReturnsRule(Protocol):
    """A credit rule that defines the return from each step on; otherwise it is the sum of the rewards from there on."""

    def to_go(self, episode: Episode[Any], agent: str) -> list[float]:
        """The return from each step on, discounted from that step."""
        ...


@runtime_checkable
class ScoringRule(Protocol):
    """A credit rule that defines the scores by which episodes are drawn, in place of their whole-episode advantages."""

    def scores(self, group: Group, agent: str) -> Sequence[float]:
        """A number for each episode, by whose absolute value it is drawn; 0 if there is nothing to learn from it."""
        ...


@final
@attrs.frozen(kw_only=True)
class CreditSettings:
    """The settings of a run that a named credit rule may use.

    Attributes:
      std: what advantages are divided by.
      eps: added to it.
      baseline: what is subtracted.
      kept: K, how many episodes of a group are trained on.
      anchor_weight: weight of the advantage among steps of equal observation.
      baseline_decay: of a moving average.
      gae_lambda: lambda of generalised advantage estimation.
      segment_lambda: lambda over the segments of a subgoal.
      gae: what it is over.
      critic: what says values.
      bootstrap: whether an episode that was cut off goes on with a value.
    """

    std: StdKind
    eps: float
    baseline: BaselineKind = "mean"
    kept: int = 2
    anchor_weight: float = 1.0
    baseline_decay: float = 0.95
    gae_lambda: float = 0.95
    segment_lambda: float = 0.95
    gae: GaeSetting = "turn"
    critic: CriticKind = "text"
    bootstrap: bool = False

    def relative(self, returns_G: Sequence[float]) -> NDArray[np.float64]:
        """Returns relative to each other: ``group_relative_advantages`` with these settings."""
        return group_relative_advantages(
            returns_G, std=self.std, eps=self.eps, baseline=self.baseline
        )


def credit_rule(
    kind: str,
    *,
    std: StdKind,
    eps: float,
    baseline: BaselineKind = "mean",
    kept: int = 2,
    anchor_weight: float = 1.0,
    baseline_decay: float = 0.95,
    gae_lambda: float = 0.95,
    segment_lambda: float = 0.95,
    gae: GaeSetting = "turn",
    critic: CriticKind = "text",
    bootstrap: bool = False,
) -> CreditRule:
    """A credit rule by name.

    Args:
      kind: which returns are compared, see ``CREDIT_RULES``; or ``module:object``, a rule of the user's own, which
        settles by itself what follows here.
      std: what advantages are divided by.
      eps: added to it.
      baseline: what is subtracted.
      kept: K, for "max_variance".
      anchor_weight: for "anchor_state".
      baseline_decay: for "role_baseline".
      gae_lambda: for "critic", as is what follows.
      segment_lambda: over the segments of a subgoal.
      gae: over turns, tokens, both levels, or turns and segments.
      critic: "text", a small network over what is read; "head", a head on the policy's own network, which a trainer
        gives.
      bootstrap: whether an episode that was cut off goes on with a value.

    Raises:
      InvalidArgumentError: an unknown kind, or no such rule in the module.

    Theory: Definition 5.2, Equation 9.1, Equation 9.3, Equation 9.5.
    """
    settings = CreditSettings(
        std=std,
        eps=eps,
        baseline=baseline,
        kept=kept,
        anchor_weight=anchor_weight,
        baseline_decay=baseline_decay,
        gae_lambda=gae_lambda,
        segment_lambda=segment_lambda,
        gae=gae,
        critic=critic,
        bootstrap=bootstrap,
    )
    return made_rule(kind, CREDIT_RULES, settings, option="credit")


def episode_advantages(
    group: Group,
    agent: str,
    *,
    std: StdKind,
    eps: float,
    baseline: BaselineKind = "mean",
) -> list[float]:
    """A_e of one role in a group: the return, penalties included, relative to the group.

    Source: arXiv:2508.10839 (the whole cumulative episode reward, relative to the group) [paper]; std, eps and baseline
    are options [ours].
    """
    advantages_G = group_relative_advantages(
        group.returns_G(agent), std=std, eps=eps, baseline=baseline
    )
    return [float(advantage) for advantage in advantages_G]


def whole_episode_credit(group: Group, agent: str, *, relative: Relative) -> list[list[float]]:
    """A_{e,t,l} = A_e: the whole episode's advantage for every step and token.

    Source: arXiv:2508.10839 [paper].

    Theory: Definition 5.2, Equation 5.4.
    """
    return over_episodes(group, agent, relative(group.returns_G(agent)).tolist())


def reward_to_go_credit(group: Group, agent: str, *, relative: Relative) -> list[list[float]]:
    """The reward-to-go from step t, sum_{t' >= t} gamma^t' r_t', relative to that of all episodes of the group.

    An episode that is over at t has a reward-to-go of 0 there and stays in the comparison; leaving it out would bias
    the gradient (see ``turn_credit``).

    Theory: Theorem 9.1, Equation 9.1.
    """
    to_go = [_to_go(episode, agent, from_start=True) for episode in group.episodes]
    advantages_T_G = [
        relative([row[t] if t < len(row) else 0.0 for row in to_go])
        for t in range(max(map(len, to_go)))
    ]
    return [
        [float(advantages_T_G[t][e]) for t in _completion_steps(episode, agent)]
        for e, episode in enumerate(group.episodes)
    ]


def turn_credit(group: Group, agent: str, *, relative: Relative) -> list[list[float]]:
    """The reward-to-go from the agent's m-th step, relative to the episodes that have an m-th step.

    Biased if the policy determines how long an episode lasts: the only episode with an m-th step gets the advantage 0
    there, so with the leave-one-out baseline the m-th turn's part of the gradient is scaled by
    1 - Pr[Y < m]^(G - 1), with Y the number of turns (``tsmg prove --only turn``). Kept so that the bias can be shown.

    Theory: Theorem 9.2, Equation 9.3.
    """

    def turn(episode: Episode[object], t: int) -> int:
        return sum(_own(step, agent) is not None for step in episode.steps[:t])

    return _compared(group, agent, turn, relative=relative, from_start=True)


def anchor_state_credit(
    group: Group, agent: str, *, relative: Relative, anchor_weight: float = 1.0
) -> list[list[float]]:
    """The episode's advantage, plus the weighted one of the step among the group's steps with the same observation.

    A step's return is its reward-to-go, discounted from that step. A step whose observation occurs once has only the
    episode's advantage. Observations are therefore weighted by how often they are shared, which changes the direction
    of the gradient; if an observation recurs within an episode, the direction can reverse (``tsmg prove --only
    anchor``).

    Source: GiGPO, arXiv:2505.10978 (where the weight is called omega, and is 1). Its public code takes the mean of the
    returns over the steps of the group, so that long episodes count more in it; here it is over the episodes, as in the
    paper.

    Theory: Equation 9.5.
    """

    def anchor(episode: Episode[object], t: int) -> Hashable:
        own = _own(episode.steps[t], agent)
        return own and own.observation

    whole = whole_episode_credit(group, agent, relative=relative)
    steps = _compared(group, agent, anchor, relative=relative, from_start=False)
    return [
        [a + anchor_weight * b for a, b in zip(whole_T, steps_T, strict=True)]
        for whole_T, steps_T in zip(whole, steps, strict=True)
    ]


def _critic_credit(settings: CreditSettings) -> CreditRule:
    """``CriticCredit``, or with subgoals ``SubgoalCredit``, whose modules import torch."""
    if settings.gae == "subgoal":
        own = importlib.import_module("algorithms.method.subgoal_credit")
        of_subgoals: CreditRule = own.SubgoalCredit(
            turn_lambda=settings.gae_lambda,
            segment_lambda=settings.segment_lambda,
            bootstrap=settings.bootstrap,
        )
        return of_subgoals
    module = importlib.import_module("algorithms.method.critic")
    rule: CreditRule = module.CriticCredit(
        module.TextCritic if settings.critic == "text" else None,
        gae_lambda=settings.gae_lambda,
        gae=settings.gae,
        bootstrap=settings.bootstrap,
    )
    return rule


CREDIT_RULES: Mapping[str, Callable[[CreditSettings], CreditRule]] = {
    "episode": lambda s: functools.partial(whole_episode_credit, relative=s.relative),
    "reward_to_go": lambda s: functools.partial(reward_to_go_credit, relative=s.relative),
    "turn": lambda s: functools.partial(turn_credit, relative=s.relative),
    "anchor_state": lambda s: functools.partial(
        anchor_state_credit, relative=s.relative, anchor_weight=s.anchor_weight
    ),
    "max_variance": lambda s: functools.partial(
        max_variance_credit, relative=s.relative, kept=s.kept
    ),
    "mean_divided": lambda s: functools.partial(mean_divided_credit, eps=s.eps),
    "shared_steps": lambda s: functools.partial(shared_step_credit, relative=s.relative),
    "length_gated": lambda s: functools.partial(length_gated_credit, relative=s.relative),
    "policy_filtration": lambda s: PolicyFiltration(relative=s.relative),
    "role_baseline": lambda s: RoleBaseline(decay=s.baseline_decay),
    "critic": _critic_credit,
    "vine": lambda s: vine_credit,
    "tree": lambda s: functools.partial(tree_credit, relative=s.relative),
}


def _compared(
    group: Group,
    agent: str,
    key: Callable[[Episode[object], int], Hashable],
    *,
    relative: Relative,
    from_start: bool,
) -> list[list[float]]:
    """Each completion relative to those whose step has the same key; 0 for a completion without any such."""
    steps = [_completion_steps(episode, agent) for episode in group.episodes]
    to_go = [_to_go(episode, agent, from_start=from_start) for episode in group.episodes]
    alike: dict[Hashable, list[tuple[int, int]]] = {}
    for e, episode in enumerate(group.episodes):
        for completion, t in enumerate(steps[e]):
            alike.setdefault(key(episode, t), []).append((e, completion))
    advantages = [[0.0] * len(completions) for completions in steps]
    for members in alike.values():
        if len(members) > 1:
            compared = relative([to_go[e][steps[e][completion]] for e, completion in members])
            for (e, completion), advantage in zip(members, compared, strict=True):
                advantages[e][completion] = float(advantage)
    return advantages


def _own(step: Step[object], agent: str) -> AgentStep | None:
    """The agent's own part of a step; ``None`` if it did not act."""
    return next((own for own in step.agent_steps if own.agent == agent), None)


def _completion_steps(episode: Episode[object], agent: str) -> list[int]:
    """The index in ``steps`` of each of the agent's completions."""
    return [t for t, _ in episode.completions(agent)]


def _to_go(episode: Episode[object], agent: str, *, from_start: bool) -> list[float]:
    """The reward-to-go of every step, penalties included; discounted from the first step, or from that step."""
    to_go = rewards_to_go(episode, agent)
    return [episode.discount**t * own if from_start else own for t, own in enumerate(to_go)]

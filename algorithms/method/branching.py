"""Branching: which episodes of a group begin in the middle of others, and how they are used.

    none    every episode begins at the group's start
    vine    K further episodes from every state in which a learner acts; their returns tell what the state is worth
            (``credit vine``), and nothing of them is trained on
    tree    a group is M trees: each is one whole episode, and branches from states of it that are drawn at random; all
            of them are trained on, and the steps that they share once (``credit tree``)

A rule of the user's own, ``module:object``, is an object with the methods of ``Branching``.

Source: ``vine`` is VinePPO's, arXiv:2410.01679 and its public code: the mean reward of K fresh continuations (9), one
set for all states of equal text. ``tree`` is Tree-GRPO's, arXiv:2509.21240 and its public code (2 trees, each of one
episode and 2 branches; the places are drawn uniformly, with replacement, from the tree's inner nodes, its root among
them; one round of branching). States are those of the game and of what agents remember, not of a text [ours]; a tree's
branches all leave its first episode, as with the one round of the source's scripts.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, final, runtime_checkable

import attrs

from algorithms.method.advantages import Advantage, token_advantages
from algorithms.method.batch import own_steps
from algorithms.method.episode_credit import Group
from algorithms.method.risk_bundles import RiskBundles
from algorithms.method.rule_answers import checked_credits, reading_answer
from algorithms.method.rules import made_rule, rule_name
from tsmg import BranchPoint, Episode, InvalidArgumentError, Stream, situations

DEFAULT_ROLLOUTS, DEFAULT_TREES = 9, 2


@runtime_checkable
class Branching(Protocol):
    """Which episodes of a group begin in the middle of others, as a pure function."""

    @property
    def trained(self) -> bool:
        """Whether branches are members of the group; if not, only their returns are known (``group.rollouts``)."""
        ...

    def roots(self, group_size: int) -> int:
        """How many episodes of a group of this size are played from its start."""
        ...

    def __call__(
        self, group: Group, agents: Sequence[str], rng: Stream, *, group_size: int
    ) -> Sequence[BranchPoint]:
        """Where branches begin, one point for each of them.

        Args:
          group: the episodes that were played from the start.
          agents: the agents that learn.
          rng: for draws.
          group_size: G.
        """
        ...


@final
@attrs.frozen(kw_only=True)
class Vine:
    """K rollouts from each situation in which a learner acts; equal situations of a group share them.

    Attributes:
      rollouts: K.
    """

    rollouts: int = DEFAULT_ROLLOUTS
    trained: bool = attrs.field(default=False, init=False)

    def roots(self, group_size: int) -> int:
        """All of them."""
        return group_size

    def __call__(
        self, group: Group, agents: Sequence[str], rng: Stream, *, group_size: int
    ) -> list[BranchPoint]:
        """The first place of each situation, K times."""
        numbers = situations(group.episodes)
        places: dict[int, BranchPoint] = {}
        for e, episode in enumerate(group.episodes):
            for t in deciding_steps(episode, agents):
                places.setdefault(numbers[e][t], BranchPoint(episode=e, step=t))
        return [place for place in places.values() for _ in range(self.rollouts)]


@final
@attrs.frozen(kw_only=True)
class Tree:
    """M trees, each of one episode from the start and of G / M - 1 branches from it.

    Attributes:
      trees: M.
    """

    trees: int = DEFAULT_TREES
    trained: bool = attrs.field(default=True, init=False)

    def roots(self, group_size: int) -> int:
        """One for each tree."""
        return self.trees

    def __call__(
        self, group: Group, agents: Sequence[str], rng: Stream, *, group_size: int
    ) -> list[BranchPoint]:
        """Steps of ``forks``, each as likely, with replacement."""
        steps = [forks(episode, agents) for episode in group.episodes]
        return [
            BranchPoint(episode=e, step=rng.choice(own))
            for e, own in enumerate(steps)
            for _ in range(group_size // self.trees - 1)
            if own
        ]


def deciding_steps(episode: Episode[object], agents: Sequence[str]) -> list[int]:
    """The steps at which one of these agents has a completion.

    Args:
      episode: the episode.
      agents: their names.
    """
    return [
        t
        for t, step in enumerate(episode.steps)
        if any(own.agent in agents and own.reply.completions for own in step.agent_steps)
    ]


def forks(episode: Episode[object], agents: Sequence[str]) -> list[int]:
    """Where branches of a tree may leave an episode: the steps at which a learner acts, or the start if none does.

    A group therefore has all its members, whoever acts in its first episodes.

    Args:
      episode: the episode.
      agents: the names of those that learn.
    """
    return deciding_steps(episode, agents) or [0][: len(episode.steps)]


def tree_numbers(group: Group) -> list[int]:
    """For each episode of a group, the place of the one that its tree began with.

    Example:
      >>> from tsmg import EpisodeGroup
      >>> points = (None, None, BranchPoint(episode=1, step=0), BranchPoint(episode=2, step=3))
      >>> tree_numbers(EpisodeGroup(episodes=(), origins=points))
      [0, 1, 1, 1]
    """
    numbers: list[int] = []
    for e, origin in enumerate(group.origins):
        numbers.append(e if origin is None else numbers[origin.episode])
    return numbers


def shared_once(
    group: Group, agent: str, credits_G: Sequence[Sequence[Advantage]], *, rule: object
) -> list[list[Advantage]]:
    """Advantages of the completions that each episode alone has; of a shared one, the sum over all that share it.

    At the first optimiser step this is the gradient that all whole episodes have, each on its own, and each token is
    computed once.

    Args:
      group: trees of episodes.
      agent: whose completions.
      credits_G: for each episode, an advantage for each of its completions, shared ones included.
      rule: name of the rule that made them, for messages.

    Raises:
      InvalidArgumentError: they are not as many as there are completions, or not finite.
    """
    whole = [[completion for _, completion in e.completions(agent)] for e in group.episodes]
    rows = [list(row) for row in checked_credits(credits_G, whole, rule=rule)]
    for e in reversed(range(len(rows))):
        origin = group.origins[e]
        if origin is None:
            continue
        shared = len(rows[e]) - len(own_steps(group, agent, e))
        parent = rows[origin.episode]
        for n, advantage in enumerate(rows[e][:shared]):
            parent[n] = _sum(parent[n], advantage, len(whole[e][n].reply_ids))
        rows[e] = rows[e][shared:]
    return rows


def _sum(one: Advantage, other: Advantage, tokens: int) -> Advantage:
    if isinstance(one, float) and isinstance(other, float):
        return one + other
    pairs = zip(token_advantages(one, tokens), token_advantages(other, tokens), strict=True)
    return tuple(a + b for a, b in pairs)


@final
@attrs.frozen(kw_only=True)
class BranchingSettings:
    """The settings of a run that a named branching uses.

    Attributes:
      rollouts: K of "vine".
      trees: M of "tree".
    """

    rollouts: int = DEFAULT_ROLLOUTS
    trees: int = DEFAULT_TREES


BRANCHINGS: Mapping[str, Callable[[BranchingSettings], Branching | None]] = {
    "none": lambda settings: None,
    "vine": lambda settings: Vine(rollouts=settings.rollouts),
    "tree": lambda settings: Tree(trees=settings.trees),
}


def find_branching(setting: str, *, rollouts: int, trees: int) -> Branching | None:
    """A branching by its setting.

    Args:
      setting: a name, or ``module:object``.
      rollouts: K of "vine".
      trees: M of "tree".

    Raises:
      InvalidArgumentError: nothing has the name.
    """
    settings = BranchingSettings(rollouts=rollouts, trees=trees)
    return made_rule(setting, BRANCHINGS, settings, option="branching")


def root_count(branching: Branching | None, group_size: int) -> int:
    """How many episodes of a group begin at its start.

    Args:
      branching: where the others begin; there are none if ``None``.
      group_size: G.

    Raises:
      InvalidArgumentError: a branching of the user's own says something else than a number from 1 to G.

    Example:
      >>> root_count(None, 8), root_count(Tree(trees=2), 8)
      (8, 2)
    """
    if branching is None:
        return group_size
    roots = branching.roots(group_size)
    wanted = f"a number of roots from 1 to {group_size}"
    with reading_answer(roots, rule=branching, wanted=wanted):
        count = operator.index(roots)
    if not 1 <= count <= group_size:
        raise InvalidArgumentError(f"{rule_name(branching)} must return {wanted} (got {count})")
    return count


def check_branching(
    settings: Mapping[str, object], *, group_size: int, rollouts: int, trees: int
) -> None:
    """Refuse settings of branching that contradict each other.

    Args:
      settings: those of ``MSGRPOConfig``, by name.
      group_size: G.
      rollouts: K of "vine".
      trees: M of "tree".

    Raises:
      InvalidArgumentError: the message names both.
    """
    branching, credit = settings["branching"], settings["credit"]
    for owner in ("vine", "tree"):
        if credit == owner != branching in BRANCHINGS:
            raise InvalidArgumentError(
                f"'credit' {owner!r} reads what 'branching' {owner!r} plays: choose both (got 'branching' "
                f"{branching!r})"
            )
    if branching == "vine" and credit != "vine" and ":" not in str(credit):
        raise InvalidArgumentError(
            f"'branching' 'vine' plays rollouts that 'credit' {credit!r} does not read: choose 'credit' 'vine'"
        )
    if branching == "tree" and (group_size % trees or group_size == trees):
        raise InvalidArgumentError(
            f"'group_size' must be a multiple of 'trees', and more (got {group_size} and {trees})"
        )
    named = BRANCHINGS.get(str(branching))
    if named is not None:
        made = named(BranchingSettings(rollouts=rollouts, trees=trees))
        check_goes_with(made, settings, name=f"'branching' {branching!r}")


@final
@attrs.frozen(kw_only=True)
class _Excluded:
    """A setting that branches do not go with.

    Attributes:
      of_all: whether no branches do; if not, those that are trained on.
      has: whether the setting is such a one.
      reason: why.
    """

    of_all: bool = False
    has: Callable[[object], bool]
    reason: str


def looks_at_episodes(ratio: object) -> bool:
    """Whether a ratio kind, or one of this name, looks at whole episodes.

    Example:
      >>> looks_at_episodes("gspo-episode"), looks_at_episodes("gspo")
      (True, False)
    """
    return ratio == "gspo-episode" or getattr(ratio, "whole_episodes", False) is True


_SHARED = "shared steps are trained once, "
_NO_EPISODE = f"{_SHARED}so a branch has no whole episode"
_EXCLUDED: Mapping[str, _Excluded] = {
    "common_chance": _Excluded(
        of_all=True, has=lambda value: value is True, reason="branches draw chance of their own"
    ),
    "batch_rule": _Excluded(
        of_all=True,
        has=lambda value: value == "risk" or isinstance(value, RiskBundles),
        reason="that rule replaces all credit by its own",
    ),
    "ratio": _Excluded(has=looks_at_episodes, reason=_NO_EPISODE),
    "importance_level": _Excluded(has=lambda value: value == "episode", reason=_NO_EPISODE),
    "weighting": _Excluded(
        has=lambda value: value in ("episode", "sequence"),
        reason=f"{_SHARED}so a branch does not have the size of its episode",
    ),
    "sampling": _Excluded(
        has=lambda value: value != "all",
        reason=f"{_SHARED}with all episodes that share them; choose 'all'",
    ),
}


def check_goes_with(
    branching: Branching | None, settings: Mapping[str, object], *, name: str = ""
) -> None:
    """Refuse settings that are incompatible with branches; no other place lists them.

    Args:
      branching: which episodes begin in the middle of others; ``None`` is compatible with everything.
      settings: of ``MSGRPOConfig`` by name, as far as they are known; rules may be there as objects.
      name: of the branching, for messages; that of its rule unless given.

    Raises:
      InvalidArgumentError: the message names both; or the branching is none.
    """
    if branching is None:
        return
    if not isinstance(branching, Branching):
        raise InvalidArgumentError(
            "'branching' must be an object with 'trained' and 'roots' that is called for points (got "
            f"{branching!r:.100})"
        )
    for setting, excluded in _EXCLUDED.items():
        applies = setting in settings and (excluded.of_all or branching.trained)
        if applies and excluded.has(settings[setting]):
            value = settings[setting]
            shown = repr(value) if isinstance(value, str | bool) else rule_name(value)
            raise InvalidArgumentError(
                f"{name or rule_name(branching)} does not go with {setting!r} {shown}: {excluded.reason}"
            )

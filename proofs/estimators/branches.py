"""Branches of trajectories, exactly: what can follow a state of a trajectory is what follows it in the others.

Trajectories that came to a state in the same way share the records of the steps before it. A branch from there is drawn
from them, with their probabilities given these steps; the whole episode of a branch is a trajectory itself.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np

from algorithms.method.batch import rewards_to_go
from algorithms.method.branching import Branching, Tree, Vine, forks, root_count
from proofs.estimators.multisets import multisets, pick
from proofs.exact.gradients import Array, TrajectoryDistribution
from tsmg import BranchPoint, EpisodeGroup, StateRollouts, Stream

Group = EpisodeGroup[Any]  # of a game with states of any type


@final
@attrs.frozen(kw_only=True)
class Outcome:
    """An outcome of a rollout from a state.

    Attributes:
      returns_N: each agent's return from there.
      probability: of these returns.
    """

    returns_N: tuple[float, ...]
    probability: float


@final
@attrs.frozen(kw_only=True)
class Unit:
    """Members of a group that are drawn together: one trajectory, or a tree of them.

    Attributes:
      numbers: the trajectories; the first is the one that begins at the start.
      steps: the steps at which the others left it.
      probability: given what the group shares.
    """

    numbers: tuple[int, ...]
    steps: tuple[int, ...]
    probability: float


@final
class Branches:
    """The laws of branches, each computed once.

    Args:
      dist: the trajectory distribution.
      branching: which episodes of a group begin in the middle of others.
      size: G.
    """

    def __init__(
        self, dist: TrajectoryDistribution, branching: Branching | None, *, size: int
    ) -> None:
        self.dist, self.branching, self.size = dist, branching, size
        self._known_leaves: dict[int, list[tuple[int, int, float]]] = {}
        self._known_outcomes: dict[tuple[int, int], list[Outcome]] = {}
        self._known_to_go: dict[int, list[tuple[float, ...]]] = {}

    @property
    def roots(self) -> int:
        """How many members of a group begin at its start."""
        return root_count(self.branching, self.size)

    @property
    def rollouts(self) -> int:
        """K, of a vine."""
        return self.branching.rollouts if isinstance(self.branching, Vine) else 0

    def units(self, members: Array) -> Iterator[Unit]:
        """All units of a group whose members are among these trajectories.

        Args:
          members: numbers of trajectories.
        """
        p_E = self.dist.probabilities_E[members] / self.dist.probabilities_E[members].sum()
        for e, p in zip(members.tolist(), p_E.tolist(), strict=True):
            leaves = self._leaves(e)
            for chosen, orders in multisets(len(leaves), self._branches_of_a_tree if leaves else 0):
                found = [leaves[n] for n in chosen]
                yield Unit(
                    numbers=(e, *(f for _, f, _ in found)),
                    steps=tuple(t for t, _, _ in found),
                    probability=p * orders * math.prod(q for _, _, q in found),
                )

    def count_units(self, members: Array) -> int:
        """How many units there are, without listing them."""
        n = self._branches_of_a_tree
        counts = [len(self._leaves(e)) for e in members.tolist()] if n else [0] * len(members)
        return sum(math.comb(count + n - 1, n) if count else 1 for count in counts)

    def group(self, units: Sequence[Unit]) -> Group:
        """The group of these units."""
        if not self._branches_of_a_tree:
            return self._plain([unit.numbers[0] for unit in units])
        numbers: list[int] = []
        origins: list[BranchPoint | None] = []
        for unit in units:
            root = len(numbers)
            numbers += unit.numbers
            origins += [None, *(BranchPoint(episode=root, step=t) for t in unit.steps)]
        return attrs.evolve(self._plain(numbers), origins=tuple(origins))

    def drawn(self, roots: Sequence[int], rng: Stream) -> tuple[Group, int]:
        """A group that begins with these trajectories, with drawn branches; and the tokens of rollouts.

        Args:
          roots: numbers of trajectories.
          rng: for the draws.
        """
        group = self._plain(roots)
        if self.branching is None:
            return group, 0
        points = self.branching(group, self.dist.learners, rng, group_size=self.size)
        drawn = [
            (point, self._continuation(roots[point.episode], point.step, rng)) for point in points
        ]
        if self.branching.trained:
            origins = (*(None,) * len(roots), *points)
            whole = self._plain([*roots, *(f for _, f in drawn)])
            return attrs.evolve(whole, origins=origins), 0
        found: dict[BranchPoint, list[tuple[float, ...]]] = {}
        for point, f in drawn:
            found.setdefault(point, []).append(self._returns_N(f, point.step))
        tokens = sum(self._tokens(f, point.step) for point, f in drawn)
        return _with_rollouts(group, {p: tuple(rows) for p, rows in found.items()}), tokens

    def values(self, group: Group, numbers: Sequence[int]) -> dict[BranchPoint, list[Outcome]]:
        """The outcomes of a rollout from each state of a group.

        Args:
          group: trees or not.
          numbers: of its trajectories.
        """
        assert self.branching is not None  # noqa: S101 - asked for where there is one
        points = self.branching(group, self.dist.learners, Stream(), group_size=self.size)
        return {
            point: self._outcomes(numbers[point.episode], point.step)
            for point in dict.fromkeys(points)
        }

    def valued(
        self, group: Group, values: dict[BranchPoint, list[Outcome]]
    ) -> Iterator[tuple[float, Group]]:
        """The group with all outcomes of its rollouts, with their probabilities.

        Args:
          group: the group.
          values: as ``values`` gives them.
        """
        laws = [
            [
                (
                    orders * math.prod(outcomes[n].probability for n in chosen),
                    (point, tuple(outcomes[n].returns_N for n in chosen)),
                )
                for chosen, orders in multisets(len(outcomes), self.rollouts)
            ]
            for point, outcomes in values.items()
        ]
        for combination in itertools.product(*laws):
            p = math.prod(share for share, _ in combination)
            yield p, _with_rollouts(group, dict(found for _, found in combination))

    def count_valued(self, values: dict[BranchPoint, list[Outcome]]) -> int:
        """The number of groups that ``valued`` yields."""
        k = self.rollouts
        return math.prod(math.comb(len(outcomes) + k - 1, k) for outcomes in values.values())

    def mean_valued(self, group: Group, values: dict[BranchPoint, list[Outcome]]) -> Group:
        """The group with the true values of its states."""
        return _with_rollouts(group, {p: (_mean_N(outcomes),) for p, outcomes in values.items()})

    def varied(
        self, group: Group, values: dict[BranchPoint, list[Outcome]]
    ) -> Iterator[tuple[float, Group]]:
        """The group with one of its values replaced by an outcome; and the outcome's probability over K.

        Where an estimate is affine in the values, which are means of K independent rollouts, the differences to that of
        ``mean_valued``, squared and weighed so, add up to its covariance given the group.
        """
        means = {point: (_mean_N(outcomes),) for point, outcomes in values.items()}
        for point, outcomes in values.items():
            for outcome in outcomes if len(outcomes) > 1 else ():
                replaced = _with_rollouts(group, {**means, point: (outcome.returns_N,)})
                yield outcome.probability / self.rollouts, replaced

    def rollout_tokens(
        self, values: dict[BranchPoint, list[Outcome]], numbers: Sequence[int]
    ) -> float:
        """The expected number of tokens of learners in the rollouts of a group.

        Args:
          values: as ``values`` gives them.
          numbers: of the group's trajectories.
        """
        return self.rollouts * sum(
            self._mean_tokens(numbers[point.episode], point.step) for point in values
        )

    @property
    def _branches_of_a_tree(self) -> int:
        return self.size // self.branching.trees - 1 if isinstance(self.branching, Tree) else 0

    def _plain(self, numbers: Sequence[int]) -> Group:
        trajectories = self.dist.trajectories
        return EpisodeGroup(episodes=tuple(trajectories[e].episode for e in numbers))

    @cached_property
    def _nodes(self) -> dict[tuple[bool, int], Array]:
        """The trajectories that share all steps up to one, by the identity of its record; or that share a start."""
        nodes: dict[tuple[bool, int], list[int]] = {}
        for number, trajectory in enumerate(self.dist.trajectories):
            nodes.setdefault((True, trajectory.start), []).append(number)
            for step in trajectory.episode.steps:
                nodes.setdefault((False, id(step)), []).append(number)
        return {node: np.array(numbers) for node, numbers in nodes.items()}

    def _alike(self, e: int, t: int) -> Array:
        """The trajectories that share the first t steps of one."""
        trajectory = self.dist.trajectories[e]
        steps = trajectory.episode.steps
        return self._nodes[(False, id(steps[t - 1])) if t else (True, trajectory.start)]

    def _continuation(self, e: int, t: int, rng: Stream) -> int:
        alike = self._alike(e, t)
        return int(alike[pick(self.dist.probabilities_E[alike], rng)])

    def _leaves(self, e: int) -> list[tuple[int, int, float]]:
        """(step, trajectory, probability) of each branch of a tree that begins with a trajectory."""
        if not self._branches_of_a_tree:
            return []
        if e not in self._known_leaves:
            steps = forks(self.dist.trajectories[e].episode, self.dist.learners)
            self._known_leaves[e] = [
                (t, f, q / len(steps)) for t in steps for f, q in self._law(e, t)
            ]
        return self._known_leaves[e]

    def _law(self, e: int, t: int) -> list[tuple[int, float]]:
        """Each trajectory that shares the first t steps, with its probability given them."""
        alike = self._alike(e, t)
        p_E = self.dist.probabilities_E[alike]
        return list(zip(alike.tolist(), (p_E / p_E.sum()).tolist(), strict=True))

    def _outcomes(self, e: int, t: int) -> list[Outcome]:
        if (e, t) not in self._known_outcomes:
            shares: dict[tuple[float, ...], float] = {}
            for f, q in self._law(e, t):
                returns_N = self._returns_N(f, t)
                shares[returns_N] = shares.get(returns_N, 0.0) + q
            self._known_outcomes[e, t] = [
                Outcome(returns_N=returns_N, probability=q) for returns_N, q in shares.items()
            ]
        return self._known_outcomes[e, t]

    def _returns_N(self, e: int, t: int) -> tuple[float, ...]:
        if e not in self._known_to_go:
            episode = self.dist.trajectories[e].episode
            rows = [rewards_to_go(episode, agent) for agent in episode.agents]
            self._known_to_go[e] = list(zip(*rows, strict=True))
        return self._known_to_go[e][t]

    def _mean_tokens(self, e: int, t: int) -> float:
        return sum(q * self._tokens(f, t) for f, q in self._law(e, t))

    def _tokens(self, e: int, t: int) -> int:
        """How many tokens the learners sampled from a step on."""
        episode = self.dist.trajectories[e].episode
        completions = (pair for agent in self.dist.learners for pair in episode.completions(agent))
        return sum(len(completion.reply_ids) for u, completion in completions if u >= t)


def _mean_N(outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    return tuple(
        math.fsum(outcome.probability * outcome.returns_N[n] for outcome in outcomes)
        for n in range(len(outcomes[0].returns_N))
    )


def _with_rollouts(group: Group, found: dict[BranchPoint, tuple[tuple[float, ...], ...]]) -> Group:
    """The group with rollouts of these returns; their tokens are counted apart."""
    none = (0,) * len(group.episodes[0].agents)
    return attrs.evolve(
        group,
        rollouts=tuple(
            StateRollouts(point=point, returns_K_N=returns_K_N, tokens_N=none)
            for point, returns_K_N in found.items()
        ),
    )

"""The batches that an estimator can meet on a finite game: all of them with their probabilities, or a sample."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.advantages import token_advantages
from algorithms.method.batch import RoleGroup, TrainingRow
from algorithms.method.branch_credit import vine_credit
from algorithms.method.branching import Tree, Vine
from algorithms.method.episode_sampling import SamplingRule, Selected
from algorithms.method.rules import rule_name
from algorithms.method.starts import CandidateStart, StartLaw
from algorithms.training.drawing import zero_variance_episodes
from proofs.estimators.branches import Branches, Group, Unit
from proofs.estimators.moments import Batch
from proofs.estimators.multisets import multisets, pick
from proofs.exact.enumeration import Trajectory
from proofs.exact.gradients import Array, TrajectoryDistribution
from tsmg import InvalidArgumentError, Stream


def group_classes(dist: TrajectoryDistribution, group_on: str) -> list[Array]:
    """The numbers of the trajectories that can be in one group, for each thing that groups can share."""

    def shared(trajectory: Trajectory) -> Hashable:
        if group_on == "initial_state":
            return trajectory.start
        if group_on == "nothing":
            return None
        state = trajectory.episode.start.state.state
        return tuple(dist.game.information_key(state, agent) for agent in dist.game.agents)

    classes: dict[Hashable, list[int]] = {}
    for number, trajectory in enumerate(dist.trajectories):
        classes.setdefault(shared(trajectory), []).append(number)
    return [np.array(members) for members in classes.values()]


def candidate_starts(dist: TrajectoryDistribution) -> list[CandidateStart]:
    """The starts of a distribution with their probabilities, numbered as the trainer numbers those of the game."""
    states: dict[int, Any] = {}
    shares: dict[int, float] = {}
    for trajectory, p in zip(dist.trajectories, dist.probabilities_E.tolist(), strict=True):
        states[trajectory.start] = trajectory.episode.start.state.state
        shares[trajectory.start] = shares.get(trajectory.start, 0.0) + p
    return [CandidateStart.at(states[n], number=n, share=shares[n]) for n in sorted(states)]


@attrs.frozen(kw_only=True, eq=False)
class Kind:
    """A kind of group.

    Attributes:
      members: the numbers of the trajectories that can stand in it.
      share: the probability that a group is of this kind.
      start: number of the start that a start rule chose for it; ``None`` if the game drew it.
      start_weight: w of that start.
    """

    members: Array
    share: float
    start: int | None = None
    start_weight: float = 1.0


@attrs.frozen(kw_only=True, eq=False, slots=False)
class Batches:
    """The batches of an estimator, over all groups of trajectories.

    Attributes:
      dist: the trajectory distribution.
      estimator: the estimator.
      config: the settings; of the estimator, of play, and of the regularisers.
      classes: the numbers of the trajectories that can stand in one group, for each thing that groups can share.
      starts: the distribution of the start of a group; ``None`` if it is the game's own.
    """

    dist: TrajectoryDistribution
    estimator: Estimator
    config: MSGRPOConfig
    classes: list[Array]
    starts: StartLaw | None = None

    @cached_property
    def kinds(self) -> list[Kind]:
        """The kinds of groups: what the members share, and the start that was drawn for them."""
        found = []
        for members in self.classes:
            if self.starts is None:
                share = float(self.dist.probabilities_E[members].sum())
                found.append(Kind(members=members, share=share))
                continue
            for start in sorted({self.dist.trajectories[int(e)].start for e in members}):
                if q := self.starts.probabilities[start]:
                    weight = self.starts.weight(start)
                    found.append(Kind(members=members, share=q, start=start, start_weight=weight))
        return found

    @property
    def size(self) -> int:
        """G."""
        return self.config.group_size

    @cached_property
    def by_token(self) -> bool:
        """Whether the rules give advantages of tokens, as far as one group tells."""
        kinds = self.kinds[:1]
        first = int(kinds[0].members[0]) if kinds else 0
        group, _ = self.branches.drawn([first] * self.branches.roots, Stream("rules"))
        roles = self.roles([group], kinds)
        changed = (*roles, *self.estimator.over_batch(roles))
        return any(isinstance(a, tuple) for g in changed for row in g.credits_G for a in row)

    @cached_property
    def branches(self) -> Branches:
        """The laws of the branches of groups."""
        return Branches(self.dist, self.estimator.branching, size=self.size)

    @cached_property
    def is_affine(self) -> bool:
        """Whether the estimate is affine in the values of states, so that their means and variances are enough."""
        made = self.estimator
        plain = made.batch_rule is None and made.group_filter is None
        draws = not (isinstance(made.sampling, SamplingRule) and made.sampling.kind == "all")
        return bool(self.branches.rollouts and made.credit is vine_credit and plain and not draws)

    def count(self, limit: int) -> int:
        """The number of distinct groups, with all outcomes of rollouts; if it is above ``limit``, some number above it.

        Args:
          limit: up to where it is exact.
        """
        branching = self.estimator.branching
        if branching is not None and not isinstance(branching, Vine | Tree):
            return limit + 1  # what it draws is not known
        roots = self.branches.roots
        counts = [self.branches.count_units(kind.members) for kind in self.kinds]
        count = sum(math.comb(units + roots - 1, roots) for units in counts)
        if count > limit or not self.branches.rollouts or self.is_affine:
            return count
        count = 0
        for _, _, units in self._chosen():
            numbers = [unit.numbers[0] for unit in units]
            group = self.branches.group(units)
            count += self.branches.count_valued(self.branches.values(group, numbers))
            if count > limit:
                break
        return count

    def listed(self) -> Iterator[Batch]:
        """Every group with every selection from it; a group that is played again counts with its whole cost.

        With s the probability of a group that does not pass, there is a k-th play with probability s^(k-1): what passes
        is learnt from in any of them, and nothing is learnt where the last does not.
        """
        plays, silent = self.config.max_plays, 0.0
        if plays > 1:
            silent = max(0.0, 1 - sum(found.p for found in self._groups() if found.passed))
        played = sum(silent**k for k in range(plays))
        # the mean share of plays before the one that is learnt from
        late = sum(silent**k * k / (k + 1) for k in range(plays)) / played
        for found in self._groups():
            roles, passed, tokens = found.roles, found.passed, found.tokens
            share = played if passed else silent ** (plays - 1)
            for selected, p in self.estimator.draw_dist(passed).enumerate():
                weight = found.p * float(p)
                batch = self._batch(
                    roles, passed, selected, groups=1, weight=weight * share, rollout_tokens=tokens
                )
                yield attrs.evolve(
                    batch,
                    played=weight * played,
                    zero_variance=late + (1 - late) * batch.zero_variance,
                    noise_X_C=self._noise(batch, found, selected) if found.varied else None,
                )

    def _groups(self) -> Iterator["_Found"]:
        """Each group, or for an affine estimate each group with the true values of its states."""
        branches = self.branches
        for p, kind, units in self._chosen():
            group = branches.group(units)
            if not branches.rollouts:
                yield self._found(p, group, kind)
                continue
            numbers = [unit.numbers[0] for unit in units]
            values = branches.values(group, numbers)
            tokens = branches.rollout_tokens(values, numbers)
            if self.is_affine:
                found = self._found(p, branches.mean_valued(group, values), kind, tokens)
                yield attrs.evolve(found, varied=tuple(branches.varied(group, values)))
            else:
                for q, valued in branches.valued(group, values):
                    yield self._found(p * q, valued, kind, tokens)

    def _found(self, p: float, group: Group, kind: Kind, tokens: float = 0.0) -> "_Found":
        roles = self.roles([group], [kind])
        passed = self.estimator.over_batch(self.estimator.passed(roles))
        return _Found(p=p, roles=roles, passed=passed, tokens=tokens, kind=kind)

    def _chosen(self) -> Iterator[tuple[float, Kind, list[Unit]]]:
        """The units of each group, with the probability of the group and its kind."""
        roots = self.branches.roots
        for kind in self.kinds:
            units = list(self.branches.units(kind.members))
            for chosen, orders in multisets(len(units), roots):
                p = kind.share * (orders * math.prod(units[n].probability for n in chosen))
                yield p, kind, [units[n] for n in chosen]

    def _noise(self, batch: Batch, found: "_Found", selected: Sequence[Selected]) -> Array:
        """How the coefficients differ where one value does, each weighed by the root of its share."""
        rows = []
        for share, group in found.varied:
            roles = self.roles([group], [found.kind])
            other = self._batch(roles, roles, selected, groups=1, weight=1.0)
            rows.append(math.sqrt(share) * (other.coefficients_C - batch.coefficients_C))
        return np.stack(rows)

    def drawn(self, numbers: Iterable[int], seed: int, groups: int) -> Iterator[Batch]:
        """The batches of these numbers, each drawn from streams of its own."""
        shares = np.array([kind.share for kind in self.kinds])
        for i in numbers:
            roles: list[RoleGroup] = []
            passed: list[RoleGroup] = []
            tokens = 0
            plays, asked = 0, groups * len(self.dist.learners)
            while not plays or (len(passed) < asked and plays < self.config.max_plays):
                numbers_here = range(plays * groups, (plays + 1) * groups)
                streams = [Stream("members", seed, i, g) for g in numbers_here]
                drawn = [self._drawn_group(shares, stream) for stream in streams]
                groups_here, kinds, tokens_here = zip(*drawn, strict=True)
                roles += self.roles(groups_here, kinds, first=numbers_here.start)
                tokens += sum(tokens_here)
                passed, plays = self.estimator.passed(roles)[:asked], plays + 1
            passed = self.estimator.over_batch(passed)
            rngs = [Stream("selection", seed, i, r) for r in range(len(passed))]
            selected = self.estimator.draw(passed, rngs)
            yield self._batch(
                roles, passed, selected, groups=groups, weight=1.0, rollout_tokens=tokens
            )

    def _drawn_group(self, shares: Array, rng: Stream) -> tuple[Group, Kind, int]:
        """A group, its kind, and the tokens of its rollouts."""
        kind = self.kinds[pick(shares, rng)]
        p_E = self.dist.probabilities_E[kind.members]
        roots = kind.members[[pick(p_E, rng) for _ in range(self.branches.roots)]]
        group, tokens = self.branches.drawn([int(e) for e in roots], rng)
        return group, kind, tokens

    def roles(
        self, groups: Sequence[Group], kinds: Sequence[Kind] = (), *, first: int = 0
    ) -> list[RoleGroup]:
        """Groups in the roles of the learners, with all that the trainer tells rules of them.

        Args:
          groups: the groups.
          kinds: the kind of each; without a start rule they may be left out.
          first: number of the first group in its batch.
        """
        found = []
        for n, group in enumerate(groups):
            for role in self.estimator.role_groups([group], self.dist.learners):
                numbered = attrs.evolve(role, number=first + n)
                if self.starts is not None:
                    numbered = self._started(numbered, group, kinds[n])
                found.append(numbered)
        return found

    def _started(self, role: RoleGroup, group: Group, kind: Kind) -> RoleGroup:
        """A role with what start rules look at."""
        successes = [self.dist.game.success(e, role.agent) for e in group.episodes]
        return attrs.evolve(
            role,
            start=kind.start,
            start_weight=kind.start_weight,
            successes_G=tuple(successes),
        )

    def _batch(
        self,
        roles: list[RoleGroup],
        passed: list[RoleGroup],
        selected: Sequence[Selected],
        *,
        groups: int,
        weight: float,
        rollout_tokens: float = 0.0,
    ) -> Batch:
        """The batch of these groups in which these episodes of those that passed are selected."""
        size = len(self.dist.token_scores_K_D) if self.by_token else len(self.dist.completions)
        coefficients_C = np.zeros(size)
        kept = zero_variance_episodes(self.config, passed, selected)
        asked = groups * len(self.dist.learners)
        rows = self.estimator.rows(passed, [*selected, *kept], asked=asked)
        for row in rows:
            number = self.dist.completion_number(row.agent, row.completion)
            if self.by_token:
                tokens = self.dist.token_numbers[number]
                advantages_L = np.array(token_advantages(row.advantage, len(tokens)))
                coefficients_C[tokens.start : tokens.stop] += row.weight * advantages_L
            else:
                coefficients_C[number] += row.weight * self._whole(row)
        return Batch(
            weight=weight,
            played=weight,
            coefficients_C=coefficients_C,
            tokens=(tokens_of(roles, [])[0] + rollout_tokens, tokens_of([], rows)[1]),
            zero_variance=zero_variance_share(roles, selected),
        )

    def _whole(self, row: TrainingRow) -> float:
        """The advantage of a completion, whose tokens are scored together."""
        if not isinstance(row.advantage, tuple):
            return row.advantage
        if len(set(row.advantage)) > 1:
            raise InvalidArgumentError(
                f"{rule_name(self.estimator.credit)} must always give completions advantages, or always their tokens "
                f"(got {row.advantage} after numbers)"
            )
        return row.advantage[0]


@final
@attrs.frozen(kw_only=True, eq=False)
class _Found:
    """A group as it can be played.

    Attributes:
      p: its probability.
      roles: the group in the roles of the learners.
      passed: those that are learnt from.
      tokens: expected number of tokens of its rollouts.
      kind: what kind of group it is.
      varied: shares of further groups, which differ in the value of one state.
    """

    p: float
    roles: list[RoleGroup]
    passed: list[RoleGroup]
    tokens: float
    kind: Kind
    varied: tuple[tuple[float, Group], ...] = ()


def groups_are_apart(estimator: Estimator, config: MSGRPOConfig) -> bool:
    """Whether the groups of a batch do not interact, so that the distribution of one group is enough.

    Args:
      estimator: the estimator.
      config: the settings.
    """
    together = estimator.group_filter or estimator.batch_rule or config.scope == "batch"
    return not together and config.weighting in ("constant", "episode", "sequence")


def tokens_of(roles: Sequence[RoleGroup], rows: Sequence[TrainingRow]) -> tuple[int, int]:
    """The number of tokens that the learners sampled for a batch, and the number of trained ones."""
    completions = (
        completion
        for role in roles
        for completions_T in role.completions_G
        for completion in completions_T
    )
    return sum(len(completion.reply_ids) for completion in completions), sum(
        sum(row.completion.trainable) for row in rows
    )


def zero_variance_share(roles: Sequence[RoleGroup], selected: Sequence[Selected]) -> float:
    """The share of groups, in their roles, of which nothing is selected."""
    return 1 - len({episode.group for episode in selected}) / len(roles)

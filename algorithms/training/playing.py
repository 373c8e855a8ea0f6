"""The episodes of an update: groups that all processes play together, and the results of their roles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import attrs

from algorithms.distributed.processes import Processes
from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import RoleGroup
from algorithms.method.branching import Branching, root_count
from algorithms.method.config import MSGRPOConfig, resolved_group_on
from algorithms.method.estimator import Estimator
from algorithms.method.starts import CandidateStart, StartLaw
from algorithms.play.branches import with_branches
from algorithms.play.evaluation import Outcome
from algorithms.play.matchups import AbstractMatchups, Matchup, distinct_matchups
from algorithms.play.rollouts import Rollouts, check_failures, collect_groups
from algorithms.training.learner import TrainablePolicy
from lap import ConstrainedPolicy, with_logit_cache
from tsmg import AbstractGame, AgentPolicy, EpisodeGroup


def playing_policies(
    policies: Mapping[str, TrainablePolicy], game: AbstractGame[Any, Any], *, constrained: bool
) -> Mapping[str, AgentPolicy]:
    """The policies that play for these learners; shared policies stay shared.

    Args:
      policies: by agent.
      game: what is played.
      constrained: whether they can name only legal actions.
    """
    if not constrained:
        return policies
    distinct = {id(p): ConstrainedPolicy(game=game, policy=p) for p in policies.values()}
    return {agent: distinct[id(policy)] for agent, policy in policies.items()}


@attrs.frozen(kw_only=True)
class PlayedMatchup:
    """The groups of one matchup.

    Attributes:
      matchup: the policies that played.
      groups: the numbers of all its groups.
      rollouts: those of the groups that this process played.
    """

    matchup: Matchup
    groups: Sequence[int]
    rollouts: Rollouts


@attrs.frozen(kw_only=True)
class Played:
    """The episodes of an update.

    Attributes:
      game: the game that was played.
      parts: the groups by matchup.
      failures: how many episodes failed, in all processes.
      starts: the distribution of the start of a group; ``None`` if the game drew them.
    """

    game: AbstractGame[Any, Any]
    parts: tuple[PlayedMatchup, ...]
    failures: int
    starts: StartLaw | None = None

    @property
    def rollouts(self) -> Rollouts:
        """All that this process played."""
        return _joined([part.rollouts for part in self.parts])

    @property
    def roles(self) -> int:
        """How many roles of groups were planned, whatever failed."""
        return sum(len(part.matchup.learners) * len(part.groups) for part in self.parts)

    def compare(
        self, estimator: Estimator, processes: Processes
    ) -> tuple[list[RoleGroup], list[Outcome]]:
        """Each group in each role that learns, with advantages relative to the group.

        Args:
          estimator: computes the advantages.
          processes: those that played; each returns the roles of all of them, in the order of the groups.

        Returns:
          The groups in their roles, and the outcome of each of their episodes.
        """
        played_here = [
            seen
            for part in self.parts
            for group in part.rollouts.groups
            for seen in self._seen(group, estimator, part.matchup.learners)
        ]
        order = {g: n for n, g in enumerate(g for part in self.parts for g in part.groups)}
        played = sorted(processes.gather(played_here), key=lambda pair: order[pair[0].number])
        role_groups = [role_group for role_group, _ in played]
        return role_groups, [outcome for _, outcomes_G in played for outcome in outcomes_G]

    def _seen(
        self, group: EpisodeGroup[Any], estimator: Estimator, learners: Sequence[str]
    ) -> Iterator[tuple[RoleGroup, list[Outcome]]]:
        """A group in each role that learns, with what start rules look at; and the outcome of each of its episodes."""
        for role_group in estimator.role_groups([group], learners):
            outcomes_G = [Outcome.of(self.game, e, role_group.agent) for e in group.episodes]
            if self.starts is None:
                yield role_group, outcomes_G
                continue
            start = self.starts.draw(group.episodes[0].key).number
            placed = attrs.evolve(
                role_group,
                start=start,
                start_weight=self.starts.weight(start),
                successes_G=tuple(outcome.success for outcome in outcomes_G),
            )
            yield placed, outcomes_G


@final
@attrs.frozen(kw_only=True)
class Compared:
    """The episodes of an update, played and compared; of all processes, except the rollouts.

    Attributes:
      asked: how many roles of groups are meant to be learnt from, whatever failed.
      role_groups: each group in each role that learns.
      passed: those that are learnt from.
      outcomes: of each episode in each role.
      failures: how many episodes failed.
      rollouts: what this process played.
    """

    asked: int
    role_groups: tuple[RoleGroup, ...]
    passed: tuple[RoleGroup, ...]
    outcomes: tuple[Outcome, ...]
    failures: int
    rollouts: Rollouts


@final
@attrs.frozen(kw_only=True)
class GroupPlayer:
    """Plays the groups of an update, each process its share.

    Attributes:
      game: the game.
      matchups: who plays whom.
      policies: the policies that learn, by agent.
      config: the settings, with every ``auto`` resolved.
      sharding: how weights and groups are divided.
      constrained: whether these policies can name only legal actions.
      starts: the starts that a start rule chooses among.
      branching: which episodes of a group begin in the middle of others; none if ``None``.
    """

    game: AbstractGame[Any, Any]
    matchups: AbstractMatchups
    policies: Mapping[str, TrainablePolicy]
    config: MSGRPOConfig
    sharding: Sharding
    constrained: bool = False
    starts: tuple[CandidateStart, ...] = ()
    branching: Branching | None = None

    def play_until_enough(self, update: int, estimator: Estimator) -> Compared:
        """Play the groups of an update, and further ones while fewer pass the estimator's filter than there are groups.

        They are played ``max_plays`` times at most; of those that passed, the first ones are learnt from.

        Args:
          update: its number, by which all randomness is keyed.
          estimator: compares, and says which groups pass.

        Raises:
          TooManyFailuresError: more episodes failed than the settings accept.
        """
        played = self.play(update, starts=estimator.start_law(self.starts))
        return self.compare_until_enough([played], update, estimator)

    def compare_until_enough(
        self, plays: list[Played], update: int, estimator: Estimator
    ) -> Compared:
        """Compare the groups of an update, and play further ones while too few pass (``play_until_enough``).

        Args:
          plays: what was played of the update; what is played here is added.
          update: its number, by which all randomness is keyed.
          estimator: compares, and says which groups pass.

        Raises:
          TooManyFailuresError: more episodes failed than the settings accept.
        """
        role_groups: list[RoleGroup] = []
        outcomes: list[Outcome] = []
        passed: list[RoleGroup] = []
        for number in range(self.config.max_plays):
            if number == len(plays):
                first = number * self.config.groups
                plays.append(self.play(update, first_group=first, starts=plays[0].starts))
            compared, ended = plays[number].compare(estimator, self.sharding.processes)
            role_groups += compared
            outcomes += ended
            passed = estimator.passed(role_groups)
            if len(passed) >= plays[0].roles:
                break
        return Compared(
            asked=plays[0].roles,
            role_groups=tuple(role_groups),
            passed=tuple(passed[: plays[0].roles]),
            outcomes=tuple(outcomes),
            failures=sum(played.failures for played in plays),
            rollouts=_joined([played.rollouts for played in plays]),
        )

    def play(self, update: int, *, first_group: int = 0, starts: StartLaw | None = None) -> Played:
        """Play all groups of an update.

        Args:
          update: its number, by which all randomness is keyed.
          first_group: number of the first group.
          starts: the distribution of the start of a group; the game's own unless given.

        Raises:
          TooManyFailuresError: more episodes failed than the settings accept.
        """
        c, processes = self.config, self.sharding.processes
        playing = playing_policies(self.policies, self.game, constrained=self.constrained)
        with self.sharding.whole([policy.model for policy in self.policies.values()]):
            parts = tuple(
                PlayedMatchup(
                    matchup=matchup,
                    groups=groups,
                    rollouts=self.collect(matchup, processes.scatter(groups), update, starts),
                )
                for matchup, places in distinct_matchups(self.matchups, playing, c.groups)
                for groups in [[first_group + place for place in places]]
            )
        played = _joined([part.rollouts for part in parts])
        errors = processes.gather(episode.error for episode in played.failed)
        episodes = c.groups * self._roots + sum(processes.gather([played.branches]))
        failures = check_failures(played.failed, episodes, c.max_failure_rate, errors=errors)
        return Played(game=self.game, parts=parts, failures=failures, starts=starts)

    def collect(
        self,
        matchup: Matchup,
        groups: Sequence[int],
        update: int,
        starts: StartLaw | None = None,
    ) -> Rollouts:
        """Play groups of a matchup in this process.

        Args:
          matchup: the policies that play.
          groups: the numbers of the groups.
          update: the number of the update.
          starts: the distribution of the start of a group; the game's own unless given.
        """
        c, branching = self.config, self.branching
        policies = with_logit_cache(matchup.policies)
        played = collect_groups(
            self.game,
            policies,
            seed=c.seed,
            update=update,
            groups=groups,
            group_size=self._roots,
            group_on=resolved_group_on(c, self.game.facts),
            common_chance=c.common_chance,
            max_failure_rate=1.0,  # the rate over all processes is what counts
            starts=starts,
        )
        if branching is None:
            return played
        return with_branches(
            self.game,
            policies,
            played,
            branching,
            learners=matchup.learners,
            group_size=c.group_size,
        )

    @property
    def _roots(self) -> int:
        """How many episodes of a group begin at its start."""
        return root_count(self.branching, self.config.group_size)


def _joined(rollouts: Sequence[Rollouts]) -> Rollouts:
    return Rollouts(
        groups=tuple(group for part in rollouts for group in part.groups),
        failed=tuple(episode for part in rollouts for episode in part.failed),
        branches=sum(part.branches for part in rollouts),
    )

"""Rollouts: groups of episodes that share what the run declares."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from algorithms.method.config import GroupOn
from algorithms.method.starts import StartLaw
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    AgentPolicy,
    ClosedGame,
    Ending,
    Episode,
    EpisodeGroup,
    EpisodeKey,
    EpisodeSpec,
    FailedEpisode,
    Phase,
    Purpose,
    Start,
    TooManyFailuresError,
    distinct_episodes,
    draw_start,
    play,
)

_REJECTION_LIMIT = 100_000
_SLACK = 1e-6  # of sums of rewards, relative


@attrs.frozen(kw_only=True)
class Rollouts:
    """The groups of one update.

    Attributes:
      groups: whole groups; a group with a failed member is not among them.
      failed: the episodes in which the game raised.
      branches: how many episodes were begun in the middle of others.
    """

    groups: tuple[EpisodeGroup[Any], ...]
    failed: tuple[FailedEpisode[Any], ...]
    branches: int = 0


def collect_groups(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy | Mapping[str, AgentPolicy],
    *,
    seed: int,
    update: int,
    groups: int | Sequence[int],
    group_size: int,
    group_on: GroupOn = "initial_state",
    common_chance: bool = False,
    max_failure_rate: float = 0.1,
    starts: StartLaw | None = None,
) -> Rollouts:
    """Play groups of ``group_size`` episodes in one lockstep batch.

    Failure may depend on the policy, so the whole group of a failed member is left out and counted.

    Args:
      game: what is played.
      policy: who plays: one policy in every role, or one per agent.
      seed: of the run.
      update: of the run; with seed, group and episode it is the key of every draw.
      groups: how many groups, or their numbers within the update.
      group_size: G, episodes per group.
      group_on: what the members of a group share: the first state, what each agent knows of it, or nothing.
      common_chance: whether they also share the game's chance draws.
      max_failure_rate: the greatest share of failed episodes that is accepted.
      starts: the distribution of the start of a group; the game's own unless given.

    Raises:
      TooManyFailuresError: more episodes failed; the message holds the first failure.
    """
    numbers = range(groups) if isinstance(groups, int) else groups
    keys = [
        [EpisodeKey(seed=seed, update=update, group=g, episode=e) for e in range(group_size)]
        for g in numbers
    ]
    specs = [
        EpisodeSpec[Any](key=key, start=start, common_chance=common_chance)
        for members in keys
        for key, start in zip(members, group_starts(game, members, group_on, starts), strict=True)
    ]
    records = play_checked(game, policy, specs)
    failed = [record for record in records if isinstance(record, FailedEpisode)]
    check_failures(failed, len(records), max_failure_rate)
    whole = []
    for g in range(len(numbers)):
        members = records[g * group_size : (g + 1) * group_size]
        episodes = tuple(record for record in members if isinstance(record, Episode))
        if len(episodes) == group_size:
            whole.append(EpisodeGroup(episodes=episodes))
    return Rollouts(groups=tuple(whole), failed=tuple(failed))


def play_checked(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy | Mapping[str, AgentPolicy],
    specs: Sequence[EpisodeSpec[Any]],
) -> list[Episode[Any] | FailedEpisode[Any]]:
    """Play episodes; one whose return is outside the bounds that its game declares has failed.

    Bounds are declared for valid play to the end, so they do not apply to truncated or forfeited episodes.

    Args:
      game: what is played.
      policy: who plays.
      specs: the episodes.
    """
    return [within_bounds(game, record) for record in play(game, policy, specs)]


def within_bounds(
    game: AbstractGame[Any, Any], record: Episode[Any] | FailedEpisode[Any]
) -> Episode[Any] | FailedEpisode[Any]:
    """The record; a failed one, if it is of an episode that ended outside of the return bounds of its game.

    Args:
      game: declares the bounds.
      record: of a whole episode.
    """
    bounds = game.facts.return_bounds
    is_held = isinstance(record, Episode) and record.ending is Ending.TERMINATED
    if bounds is None or not is_held:
        return record
    low, high = bounds
    slack = _SLACK * max(1.0, abs(low), abs(high))
    for n, agent in enumerate(game.agents):
        total = math.fsum(step.rewards_N[n] for step in record.steps)
        if not low - slack <= total <= high + slack:
            where = f"{game.name}, step {len(record.steps)}, {record.key}"
            told = f"the return of {agent!r} is {total:g}, but its declared bounds are {low:g} to {high:g}"
            return FailedEpisode(
                key=record.key, error=f"{where}: GameLawError: {told}", steps=record.steps
            )
    return record


def check_failures(
    failed: Sequence[FailedEpisode[Any]],
    episodes: int,
    max_failure_rate: float,
    *,
    errors: Sequence[str] | None = None,
) -> int:
    """The number of failed episodes, if it is accepted.

    Args:
      failed: those that failed here.
      episodes: how many were played.
      max_failure_rate: the greatest share that is accepted.
      errors: the errors of all that failed, if several processes played.

    Raises:
      TooManyFailuresError: their share is above it; the error holds those that failed here, the message the first.
    """
    errors = [episode.error for episode in failed] if errors is None else errors
    if len(errors) > max_failure_rate * episodes:
        error = TooManyFailuresError(
            f"{len(errors)} of {episodes} episodes failed, more than the accepted share of "
            f"{max_failure_rate}; the first: {errors[0]}"
        )
        error.failed = tuple(failed)
        raise error
    return len(errors)


def group_starts(
    game: AbstractGame[Any, Any],
    members: list[EpisodeKey],
    group_on: GroupOn,
    starts: StartLaw | None = None,
) -> list[Start[Any] | None]:
    """Where each member of a group begins; ``None`` leaves the draw (and its failures) to the runner."""
    if group_on == "nothing":
        return [None] * len(members)
    try:
        if starts is None:
            first = draw_start(game, members[0].shared())
        else:
            first = Start(state=ClosedGame(game).close(starts.draw(members[0]).state))
        if group_on == "initial_state" or game.facts.perfect_information:
            return [first] * len(members)
        return [_alike(game, first, key) for key in members]
    except TooManyFailuresError:
        raise
    except Exception:  # noqa: BLE001 - the runner meets the same error again, and records it
        return [None] * len(members)


def _alike(game: AbstractGame[Any, Any], first: Start[Any], key: EpisodeKey) -> Start[Any]:
    """A start that no agent can tell from ``first``: drawn from the initial distribution, given the information."""

    def known(state: Any) -> list[Any]:
        return [game.information_key(state, agent) for agent in game.agents]

    wanted = known(first.state.state)
    rng = key.stream(Purpose.START)
    if isinstance(game, AbstractExplicitGame):
        dist = game.initial_state_dist().condition(lambda state: known(state) == wanted)
        return Start(state=ClosedGame(game).close(dist.sample(rng)))
    for _ in range(_REJECTION_LIMIT):
        state = game.sample_initial_state(rng)
        if known(state) == wanted:
            return Start(state=ClosedGame(game).close(state))
    raise TooManyFailuresError(
        f"{game.name}: no second start with the same initial information in {_REJECTION_LIMIT} draws; "
        "group on the initial state instead"
    )


def fixed_starts(game: AbstractGame[Any, Any], count: int, *, seed: int) -> list[EpisodeSpec[Any]]:
    """The same evaluation episodes for every policy: distinct instances as far as the game has them.

    Args:
      game: what is played.
      count: how many episodes.
      seed: of the evaluation; not of the run, so that runs can be compared.
    """
    return distinct_episodes(game, count, seed=seed, phase=Phase.EVALUATION)

"""Branches of played groups: episodes that begin in the middle of others, with random streams of their own.

The branches of a group follow its episodes in number, so that their draws depend on the group alone: not on what else
is played, nor on which process plays it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from algorithms.method.branching import Branching, root_count
from algorithms.method.rule_answers import reading_answer
from algorithms.method.rules import rule_name
from algorithms.play.rollouts import Rollouts, within_bounds
from tsmg import (
    AbstractGame,
    ActionText,
    AgentPolicy,
    BranchPoint,
    Episode,
    EpisodeGroup,
    EpisodeKey,
    EpisodeSpec,
    FailedEpisode,
    GameLawError,
    InvalidArgumentError,
    Match,
    ParseFailure,
    ParserOutcome,
    Purpose,
    Reply,
    StateRollouts,
    branch_start,
    branched,
    play,
)

Group = EpisodeGroup[Any]  # of a game with states of any type
Record = Episode[Any] | FailedEpisode[Any]


def with_branches(
    game: AbstractGame[Any, Any],
    policy: AgentPolicy | Mapping[str, AgentPolicy],
    played: Rollouts,
    branching: Branching,
    *,
    learners: Sequence[str],
    group_size: int,
) -> Rollouts:
    """Play the branches of groups in one lockstep batch. A group with a failed branch is left out.

    Args:
      game: what is played.
      policy: one policy in every role, or one per agent.
      played: the episodes that begin at the groups' starts.
      branching: determines where branches begin.
      learners: the agents that learn.
      group_size: G.

    Raises:
      InvalidArgumentError: a branch would begin where no episode passed.
    """
    planned = [
        branch_points(group, branching, learners=learners, group_size=group_size)
        for group in played.groups
    ]
    specs = [
        EpisodeSpec[Any](
            key=attrs.evolve(group.episodes[0].key, episode=len(group.episodes) + n),
            start=branch_start(group.episodes[point.episode], point.step),
        )
        for group, points in zip(played.groups, planned, strict=True)
        for n, point in enumerate(points)
    ]
    records = iter(play(game, policy, specs))
    groups, failed = [], list(played.failed)
    for group, points in zip(played.groups, planned, strict=True):
        branches, lost = _checked(game, group, points, [next(records) for _ in points])
        failed += lost
        if not lost:
            grown = _grown if branching.trained else _valued
            groups.append(grown(group, points, branches))
    return Rollouts(groups=tuple(groups), failed=tuple(failed), branches=len(specs))


def branch_points(
    group: Group, branching: Branching, *, learners: Sequence[str], group_size: int
) -> list[BranchPoint]:
    """Where the branches of a group begin; what the rule draws depends on the group's key alone.

    Args:
      group: the episodes that begin at the group's start.
      branching: the rule.
      learners: the agents that learn.
      group_size: G.

    Raises:
      InvalidArgumentError: a branch would begin where no episode passed, or the group would have another size than G
        although branches are trained on.
    """
    key: EpisodeKey = group.episodes[0].key
    rng = key.shared().stream(Purpose.BRANCH)
    answer = branching(group, learners, rng, group_size=group_size)
    lengths = [len(episode.steps) for episode in group.episodes]
    wanted = f"branch points at steps of episodes of {lengths} steps"
    with reading_answer(answer, rule=branching, wanted=wanted):
        points = list(answer)
        for point in points:
            if not (0 <= point.episode < len(lengths) and 0 <= point.step < lengths[point.episode]):
                raise InvalidArgumentError(
                    f"{rule_name(branching)} must return {wanted} (got {point})"
                )
    size = len(lengths) + len(points)
    is_whole = all(lengths) and len(lengths) == root_count(branching, group_size)  # none has failed
    if branching.trained and is_whole and size != group_size:
        raise InvalidArgumentError(
            f"{rule_name(branching)} must make groups of {group_size} episodes, since branches are trained on (got "
            f"{len(lengths)} roots and {len(points)} branches)"
        )
    return points


def _checked(
    game: AbstractGame[Any, Any],
    group: Group,
    points: Sequence[BranchPoint],
    records: Sequence[Record],
) -> tuple[list[Episode[Any]], list[FailedEpisode[Any]]]:
    """The branches that were played to their ends, and those that failed, by an error or outside of declared bounds."""
    branches: list[Episode[Any]] = []
    failed: list[FailedEpisode[Any]] = []
    for point, record in zip(points, records, strict=True):
        left = group.episodes[point.episode]
        if isinstance(record, FailedEpisode):
            steps = (*left.steps[: point.step], *record.steps)
            failed.append(attrs.evolve(record, steps=steps))
            continue
        whole = within_bounds(game, branched(left, point.step, record))
        if isinstance(whole, FailedEpisode):
            failed.append(whole)
        branches.append(record)
    return branches, failed


def _grown(group: Group, points: Sequence[BranchPoint], branches: Sequence[Episode[Any]]) -> Group:
    """The group with its branches as members."""
    whole = [
        branched(group.episodes[point.episode], point.step, branch)
        for point, branch in zip(points, branches, strict=True)
    ]
    origins = (*(None,) * len(group.episodes), *points)
    return EpisodeGroup(episodes=(*group.episodes, *whole), origins=origins)


def _valued(group: Group, points: Sequence[BranchPoint], branches: Sequence[Episode[Any]]) -> Group:
    """The group with what its branches came to."""
    found: dict[BranchPoint, list[Episode[Any]]] = {}
    for point, branch in zip(points, branches, strict=True):
        found.setdefault(point, []).append(branch)
    agents = group.episodes[0].agents
    rollouts = tuple(
        StateRollouts(
            point=point,
            returns_K_N=tuple(tuple(e.episode_return(agent) for agent in agents) for e in alike),
            tokens_N=tuple(
                sum(len(completion.reply_ids) for e in alike for _, completion in e.completions(a))
                for a in agents
            ),
        )
        for point, alike in found.items()
    )
    return attrs.evolve(group, rollouts=rollouts)


def check_branches(game: AbstractGame[Any, Any]) -> None:
    """Refuse a game that cannot begin in the middle of an episode; a trial leaves one state twice.

    Games that are values can. A live environment gets there by a replay, which must reach the same observation.

    Args:
      game: the game; if it fails in another way it is not refused, since the runner meets the same error and records
        it.

    Raises:
      InvalidArgumentError: it cannot; the message says why.
    """
    try:
        start = Match.begin(game, EpisodeSpec[Any](key=EpisodeKey(seed=0)))
        after = _moved(start)
        left = start if after.ending else after
        for _ in range(2):
            _moved(left)
    except GameLawError as error:
        if "cannot be branched" in str(error):
            raise InvalidArgumentError(
                f"'branching' must be none for {game.name}, since no episode can begin inside another: {error}"
            ) from error
    except Exception:  # noqa: BLE001 - the runner meets it again
        return


def _moved(match: Match[Any]) -> Match[Any]:
    """The match after each acting agent's first legal action, or after no action where none are listed."""
    replies = {}
    for agent in match.acting:
        state = match.state.state
        legal = match.game.legal_actions(state, agent)
        text = match.game.action_text(state, agent, legal[0]) if legal else ""
        outcome: ParserOutcome = ActionText(text) if legal else ParseFailure("no action is listed")
        replies[agent] = Reply(text=text, parser_outcome=outcome)
    return match.move(replies)

"""Episodes that begin in the middle of others.

A branch point is the whole situation of an episode between two steps: the state, what each agent remembers, the time
of the next step. All three are in a ``Start``, so that a branch is an ordinary episode with a start and a key of its
own: its draws are independent of those of the episode that it left, and of whatever else is played. The discount up to
the branch point is that of the shared steps, which the whole record has again (``branched``).

A game that is a value branches at no cost. A live environment reaches the state by a replay of what led there
(``games.adapters.live``), and raises an error if it then arrives somewhere else.

Example:
  >>> import games, tsmg
  >>> game = games.make("LineWalk-v0", length=9, horizon=6)
  >>> walker = tsmg.PlayerPolicy(game, tsmg.UniformPlayer(game))
  >>> key = tsmg.EpisodeKey(seed=2)
  >>> (episode,) = tsmg.play(game, walker, [tsmg.EpisodeSpec(key=key)])
  >>> start = branch_start(episode, 2)
  >>> start.t, len(start.turns["walker"])
  (2, 2)
  >>> other = tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=2, episode=1), start=start)
  >>> (branch,) = tsmg.play(game, walker, [other])
  >>> whole = branched(episode, 2, branch)
  >>> whole.steps[:2] == episode.steps[:2], whole.steps[2].state == episode.steps[2].state
  (True, True)
"""

from collections.abc import Hashable, Sequence
from typing import Any

import attrs

from tsmg.errors import InvalidArgumentError
from tsmg.records import Episode, Start, Turn


def branch_start(episode: Episode[Any], step: int) -> Start[Any]:
    """The situation of an episode before one of its steps, where another episode can begin.

    Args:
      episode: the episode.
      step: index of the step in ``episode.steps``.

    Raises:
      InvalidArgumentError: the episode has no such step.
    """
    if not 0 <= step < len(episode.steps):
        raise InvalidArgumentError(
            f"'step' must be one of the {len(episode.steps)} steps of the episode (got {step})"
        )
    turns: dict[str, tuple[Turn, ...]] = dict(episode.start.turns)
    for past in episode.steps[:step]:
        for own in past.agent_steps:
            turns[own.agent] = (*turns.get(own.agent, ()), own.turn)
    here = episode.steps[step]
    return Start(state=here.state, turns=turns, t=here.t)


def branched(episode: Episode[Any], step: int, branch: Episode[Any]) -> Episode[Any]:
    """The whole record of a branch: the steps that it shares with the episode that it left, and its own.

    Args:
      episode: the episode that was left.
      step: index of the first step that is not shared.
      branch: what was played from ``branch_start(episode, step)``.
    """
    steps = (*episode.steps[:step], *branch.steps)
    return attrs.evolve(branch, start=episode.start, steps=steps)


def situations(episodes: Sequence[Episode[Any]]) -> list[list[int]]:
    """Numbers that identify situations: two steps have the same one if all that the future depends on is the same.

    A situation is the state before the step, the time, and what each agent has read and replied so far; together they
    determine the distribution of what follows. A prompt that forgets turns may make more situations equivalent, but
    these keep different numbers.

    Args:
      episodes: of one game.

    Returns:
      Numbers from 0 on, in the order in which the situations first occur. One row for each episode.
    """
    known: dict[Hashable, int] = {}
    pasts: dict[Hashable, int] = {}
    rows = []
    for episode in episodes:
        turns = tuple(sorted((a, said) for a, said in episode.start.turns.items() if said))
        past = pasts.setdefault(("start", turns), len(pasts))
        row = []
        for step in episode.steps:
            key = (past, step.t, step.state)
            row.append(known.setdefault(key, len(known)))
            told = tuple((own.agent, own.turn) for own in step.agent_steps)
            past = pasts.setdefault((past, told), len(pasts))
        rows.append(row)
    return rows

"""Small explicit games, enumerated whole: scripts of every state and step, and of the longest and extreme episodes.

Walks that are drawn at random seldom meet a rare state. Where a game states its distributions and has few steps, a few
scripts with chosen outcomes of chance meet all of them.
"""

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import attrs

from tsmg.errors import NotEnumerableError, TSMGError
from tsmg.game import AbstractExplicitGame
from tsmg.testing.walks import Script, Subject, choose

Explicit = AbstractExplicitGame[Any, Any]
Weight = Callable[[tuple[float, ...]], float]


class Edge(NamedTuple):
    """A step from one state to another: the number of the joint action, that of chance's outcome, and what follows."""

    choice: int
    outcome: int
    after: Any
    rewards_N: tuple[float, ...]


Path = tuple[Edge, ...]
"""Steps from a start; the first one, which leads to the start, has the choice -1."""


@attrs.frozen(kw_only=True, eq=False)
class Enumeration:
    """All that can happen in a small game within the limit of a walk.

    Attributes:
      paths: a shortest path to each state within the limit, and to those one step beyond it.
      edges: the steps that leave each state; none at the end, nor beyond the limit.
      limit: the greatest number of steps of a path.
      fault: a path whose last step raises, if there is one.
      stopped: why not everything was enumerated, if that is so; the rest is then incomplete.
    """

    paths: dict[Any, Path]
    edges: dict[Any, Sequence[Edge]]
    limit: int
    fault: Path | None = None
    stopped: str = ""

    def scripts(self, agents: int) -> Iterator[Script]:
        """Scripts that walk every step, a longest episode, and those of the greatest and least return of each agent."""
        if self.fault is not None:
            yield _script(self.fault)
            return
        yield _script(self._longest)
        if all(_are_rewards(e.rewards_N, agents) for edges in self.edges.values() for e in edges):
            for n, sign in itertools.product(range(agents), (1, -1)):
                yield _script(self._extreme(functools.partial(_signed, n, sign)))
        yield from map(_script, self._cover())

    @property
    def within(self) -> int:
        """The number of states within the limit of steps from a start."""
        return sum(len(path) - 1 <= self.limit for path in self.paths.values())

    @property
    def longest(self) -> int:
        """The number of steps of a longest path."""
        return len(self._longest) - 1

    @property
    def is_cut_off(self) -> bool:
        """Whether some path is not over after the greatest number of steps."""
        here = {state for state, path in self.paths.items() if len(path) == 1}
        for _ in range(self.limit):
            here = {edge.after for state in here for edge in self.edges[state]}
        return any(self.edges[state] for state in here)

    def _cover(self) -> Iterator[Path]:
        """Paths that take every step at least once."""
        left = {state: list(edges) for state, edges in self.edges.items() if edges}
        for state in self.paths:
            if not self.edges[state]:
                yield self.paths[state]  # a start that is the end, or just one more episode
            while left.get(state) and len(self.paths[state]) <= self.limit:
                path, here = list(self.paths[state]), state
                while self.edges[here] and len(path) <= self.limit:
                    edge = left[here].pop() if left.get(here) else self.edges[here][0]
                    path.append(edge)
                    here = edge.after
                yield tuple(path)

    @functools.cached_property
    def _longest(self) -> Path:
        """A path of the most steps; of two at the limit, one that has not come to its end."""
        return self._extreme(lambda rewards_N: 1.0, open_end=0.5)

    def _extreme(self, weight: Weight, open_end: float = 0.0) -> Path:
        """A path of the greatest total weight, by backward induction over the steps that are left.

        Args:
          weight: the weight of a step, from its rewards.
          open_end: the weight of a last state that is no end.
        """
        best = [{state: open_end if edges else 0.0 for state, edges in self.edges.items()}]
        for _ in range(self.limit):
            ahead = best[-1]
            best.append(
                {
                    state: max((weight(e.rewards_N) + ahead[e.after] for e in edges), default=0.0)
                    for state, edges in self.edges.items()
                }
            )
        starts = [path for path in self.paths.values() if len(path) == 1]
        whole = best[-1]
        values = [whole[start[0].after] for start in starts]
        path = list(starts[values.index(max(values))])
        for ahead in reversed(best[:-1]):
            steps = self.edges[path[-1].after]
            if not steps:
                break
            values = [weight(step.rewards_N) + ahead[step.after] for step in steps]
            path.append(steps[values.index(max(values))])
        return tuple(path)


def _signed(n: int, sign: int, rewards_N: tuple[float, ...]) -> float:
    return sign * rewards_N[n]


def _are_rewards(rewards_N: Sequence[Any], agents: int) -> bool:
    is_whole = len(rewards_N) == agents and all(isinstance(r, int | float) for r in rewards_N)
    return is_whole and all(map(math.isfinite, rewards_N))


def _script(path: Path) -> Script:
    return Script(
        moves=tuple(edge.choice for edge in path[1:]), outcomes=tuple(e.outcome for e in path)
    )


def enumerate_game(subject: Subject, game: Any, most_edges: int) -> Enumeration:
    """Every state and step of an explicit game within the limit, or why they cannot be listed (``stopped``).

    Args:
      subject: the game under test.
      game: an instance of it.
      most_edges: the greatest number of starts and steps.
    """
    found = Enumeration(paths={}, edges={}, limit=subject.limit)
    if not isinstance(game, AbstractExplicitGame):
        return attrs.evolve(found, stopped="the game does not state its distributions")
    try:
        for number, start in _listed(game.initial_state_dist().enumerate(most_edges), most_edges):
            found.paths.setdefault(start, (Edge(-1, number, start, ()),))
    except _TooManyError as error:
        return attrs.evolve(found, stopped=str(error))
    except NotEnumerableError:
        return attrs.evolve(found, stopped=f"more than {most_edges} starts, or no list of them")
    except Exception:  # whatever the game raises: a rule of its own says so
        return attrs.evolve(found, stopped="the starts cannot be listed")
    return _explored(found, game, most_edges)


def _explored(found: Enumeration, game: Explicit, most_edges: int) -> Enumeration:
    """The enumeration that has the starts, with what can be reached from them."""
    waiting = deque(found.paths)
    count = len(waiting)
    while waiting:
        state = waiting.popleft()
        depth = len(found.paths[state]) - 1
        found.edges[state] = ()
        if depth > found.limit:
            continue  # no walk comes here
        try:
            found.edges[state] = tuple(_edges(game, state, most_edges))
        except _Faulty as fault:
            if depth == found.limit:
                continue  # no walk takes this step
            path = (*found.paths[state], Edge(fault.choice, 0, None, ()))
            return attrs.evolve(found, fault=path)
        except _TooManyError as error:
            return attrs.evolve(found, stopped=str(error))
        except TSMGError:
            stopped = f"more than {most_edges} outcomes of a step, or no list of them"
            return attrs.evolve(found, stopped=stopped)
        count += len(found.edges[state])
        if count > most_edges:
            return attrs.evolve(found, stopped=_too_many(most_edges))
        for edge in found.edges[state]:
            if edge.after not in found.paths:
                found.paths[edge.after] = (*found.paths[state], edge)
                waiting.append(edge.after)
    return found


class _TooManyError(TSMGError):
    """There is too much to list, or no list."""


def _too_many(most: int) -> str:
    return f"more than {most} steps (raise max_examples: --examples)"


class _Faulty(Exception):  # noqa: N818  # it ends the enumeration alone
    """The game raised an exception at a choice."""

    def __init__(self, choice: int) -> None:
        super().__init__(choice)
        self.choice = choice


def _edges(game: Explicit, state: Any, most: int) -> Iterator[Edge]:
    """The steps that leave a state.

    Raises:
      TSMGError: they are not listed, or more than ``most``.
      _Faulty: the game raises another exception.
    """
    choice = 0
    try:
        for choice, joint_action in _joint_actions(game, state, most):
            pairs = game.transition_dist(state, joint_action).enumerate(most)
            for outcome, (after, rewards_N) in _listed(pairs, most):
                hash(after)
                yield Edge(choice, outcome, after, rewards_N)
    except TSMGError:
        raise
    except Exception as error:  # whatever it is: the walk along this path shows it
        raise _Faulty(choice) from error


def _listed(pairs: Iterator[tuple[Any, Any]], most: int) -> list[tuple[int, Any]]:
    """The number and value of each outcome that is possible.

    Raises:
      TSMGError: there are more than ``most``.
    """
    listed = list(itertools.islice(pairs, most + 1))
    if len(listed) > most:
        raise _TooManyError(_too_many(most))
    return [(number, value) for number, (value, probability) in enumerate(listed) if probability]


def _joint_actions(game: Explicit, state: Any, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and joint action of each choice; none at the end.

    Raises:
      TSMGError: they are not listed, or more than ``most``.
    """
    if game.is_terminal(state):
        return
    acting = game.acting_agents(state)
    options = [game.legal_actions(state, agent) for agent in acting]
    listed = [legal for legal in options if legal is not None]
    if len(listed) < len(options):
        raise _TooManyError("legal actions are not listed")
    if math.prod(map(len, listed)) > most:
        raise _TooManyError(_too_many(most))
    for number in range(math.prod(map(len, listed))):
        yield choose(acting, listed, number)

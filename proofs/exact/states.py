"""The state graph of a finite game: its reachable extended states, and the transitions between them."""

import itertools
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar, final

import attrs

from proofs.exact.enumeration import Probability
from tsmg import (
    AbstractExplicitGame,
    ClosedGame,
    ClosedState,
    Illegal,
    Malformed,
    NotEnumerableError,
    Parsed,
    TextOutcome,
    step_limit,
)

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)

STATE_LIMIT = 100_000

# From the text outcome of every acting agent to the distribution of the next state's number.
Edges = Mapping[tuple[tuple[str, TextOutcome[A]], ...], tuple[tuple[int, Probability], ...]]


@final
@attrs.frozen(kw_only=True, eq=False)
class StateGraph(Generic[S, A]):
    """The extended states of a game that can be reached within its limit of steps.

    Attributes:
      states: in the order in which they are met.
      depths: for each state, the number of steps after which it is first met.
      starts: (number of the state, probability) of each start.
      edges: for each state that is not terminal and is met before the limit, what follows each joint outcome.
    """

    states: tuple[ClosedState[S], ...]
    depths: tuple[int, ...]
    starts: tuple[tuple[int, Probability], ...]
    edges: Mapping[int, Edges[A]]


def state_graph(
    game: AbstractExplicitGame[S, A], *, invalid: bool = True, limit: int = STATE_LIMIT
) -> StateGraph[S, A]:
    """The state graph over all replies of the agents.

    Args:
      game: an explicit game with finite distributions, listed legal actions, and a limit on its length.
      invalid: whether illegal and malformed replies are included.
      limit: greatest number of states.

    Raises:
      NotEnumerableError: there are more states (the message says how many at which step), or a distribution is not
      finite.

    Example:
      >>> import games
      >>> graph = state_graph(games.make("LineWalk-v0", length=2), invalid=False)
      >>> len(graph.states), max(graph.depths)
      (3, 1)
    """
    closed, steps = ClosedGame(game), step_limit(game)
    numbers: dict[ClosedState[S], int] = {}
    depths: list[int] = []

    def number(state: ClosedState[S], depth: int) -> int:
        if state not in numbers:
            numbers[state] = len(numbers)
            depths.append(depth)
        if len(numbers) > limit:
            raise NotEnumerableError(
                f"{game.name}: more than {limit} states: {len(numbers)} after step {depth} of at most {steps}"
            )
        return numbers[state]

    starts = tuple((number(s, 0), p) for s, p in closed.initial_state_dist().pmf(limit).items())
    edges: dict[int, Edges[A]] = {}
    layer = [state for state in numbers if not closed.is_terminal(state)]
    for depth in range(1, steps + 1):
        known = len(numbers)
        for state in layer:
            edges[numbers[state]] = {
                tuple(outcomes.items()): tuple(
                    (number(after.state, depth), p)
                    for after, p in closed.transition_dist(state, outcomes).pmf().items()
                )
                for outcomes in _joint_outcomes(game, state, invalid)
            }
        layer = [s for s in itertools.islice(numbers, known, None) if not closed.is_terminal(s)]
        if not layer:
            break
    return StateGraph(states=tuple(numbers), depths=tuple(depths), starts=starts, edges=edges)


def _joint_outcomes(
    game: AbstractExplicitGame[S, A], state: ClosedState[S], invalid: bool
) -> Iterator[dict[str, TextOutcome[A]]]:
    """Every combination of text outcomes of the acting agents."""
    agents = game.acting_agents(state.state)
    wrong: tuple[TextOutcome[A], ...] = (Illegal(""), Malformed("")) if invalid else ()
    choices = []
    for agent in agents:
        actions = game.legal_actions(state.state, agent)
        if actions is None:
            raise NotEnumerableError(f"{game.name}: the legal actions of {agent} cannot be listed")
        choices.append([*(Parsed(action) for action in actions), *wrong])
    for outcomes in itertools.product(*choices):
        yield dict(zip(agents, outcomes, strict=True))

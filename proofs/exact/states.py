"""The state graph of a finite game: which extended states can be reached, and what leads from one to another."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, final

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

STATE_LIMIT = 100_000

# What the acting agents come to say, by agent; and the distribution of the next state's number.
JointOutcome = tuple[tuple[str, TextOutcome[Any]], ...]
Edges = Mapping[JointOutcome, tuple[tuple[int, Probability], ...]]


@final
@attrs.frozen(kw_only=True, eq=False)
class StateGraph:
    """The extended states that a game can come to within its limit of steps.

    Attributes:
      states: in the order in which they are met.
      depths: for each, after how many steps it is first met.
      starts: (number of the state, probability) of each start.
      edges: for each state that is not terminal and is met before the limit, what follows each joint outcome.
    """

    states: tuple[ClosedState[Any], ...]
    depths: tuple[int, ...]
    starts: tuple[tuple[int, Probability], ...]
    edges: Mapping[int, Edges]


def state_graph(
    game: AbstractExplicitGame[Any, Any], *, invalid: bool = True, limit: int = STATE_LIMIT
) -> StateGraph:
    """The state graph, whatever the agents say.

    Args:
      game: an explicit game with finite distributions, listed legal actions, and a limit on its length.
      invalid: whether agents may also say what is illegal, or what no parser can read.
      limit: how many states are held at most.

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
    numbers: dict[ClosedState[Any], int] = {}
    depths: list[int] = []

    def number(state: ClosedState[Any], depth: int) -> int:
        if state not in numbers:
            numbers[state] = len(numbers)
            depths.append(depth)
        if len(numbers) > limit:
            raise NotEnumerableError(
                f"{game.name}: more than {limit} states: {len(numbers)} after step {depth} of at most {steps}"
            )
        return numbers[state]

    starts = tuple((number(s, 0), p) for s, p in closed.initial_state_dist().pmf(limit).items())
    edges: dict[int, Edges] = {}
    layer = [state for state in numbers if not closed.is_terminal(state)]
    for depth in range(1, steps + 1):
        known = len(numbers)
        for state in layer:
            edges[numbers[state]] = {
                tuple(said.items()): tuple(
                    (number(after.state, depth), p)
                    for after, p in closed.transition_dist(state, said).pmf().items()
                )
                for said in _joint_outcomes(game, state, invalid)
            }
        layer = [s for s in itertools.islice(numbers, known, None) if not closed.is_terminal(s)]
        if not layer:
            break
    return StateGraph(states=tuple(numbers), depths=tuple(depths), starts=starts, edges=edges)


def _joint_outcomes(
    game: AbstractExplicitGame[Any, Any], state: ClosedState[Any], invalid: bool
) -> Iterator[dict[str, TextOutcome[Any]]]:
    """Everything that the acting agents can come to say."""
    agents = game.acting_agents(state.state)
    wrong: tuple[TextOutcome[Any], ...] = (Illegal(""), Malformed("")) if invalid else ()
    choices = []
    for agent in agents:
        actions = game.legal_actions(state.state, agent)
        if actions is None:
            raise NotEnumerableError(f"{game.name}: the legal actions of {agent} cannot be listed")
        choices.append([*(Parsed(action) for action in actions), *wrong])
    for said in itertools.product(*choices):
        yield dict(zip(agents, said, strict=True))

"""The exact optimum of small explicit games: its value, as a ceiling, and a player that attains it.

The game has one agent, or what the agent faces is fixed: the others are scripted players, and nothing is hidden. Then
their choices are chance, and the agent's best play is that of a game of one agent.

If a game of one agent hides part of its state, the optimum is that of a clairvoyant who sees the state: an upper bound
that a reader of the texts may not reach.
"""

from collections.abc import Sequence
from typing import Any, final

from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    AbstractPlayer,
    AnyPlayer,
    Distribution,
    EpisodeSpec,
    NotEnumerableError,
    step_limit,
    uniform,
)

STATE_LIMIT = 20_000


def optimal_return(
    game: AbstractGame[Any, Any],
    state: Any,
    steps: int,
    *,
    agent: str | None = None,
    others: AnyPlayer | None = None,
) -> float | None:
    """The greatest expected return from a state within a number of steps, by backward induction.

    In a game of one agent that hides something it is the return of a clairvoyant, who sees the state: an upper bound.

    Args:
      game: the game.
      state: where to start.
      steps: how many steps are left.
      agent: the agent that plays optimally; may be left out in a game of one agent.
      others: the player of all other agents.

    Returns:
      The value in units of reward, discounted by the game's gamma; ``None`` if it cannot be computed: a
      sampled game, others that are not given or that hide something, actions or distributions that cannot be listed, or
      over 20,000 states.
    """
    agent = game.agents[0] if agent is None else agent
    dists = _reachable_dists(game, state, agent, others)
    return None if dists is None else _values(dists, steps, game.discount)[state]


Law = list[tuple[Any, float, float]]


def _values(dists: dict[Any, list[Law]], steps: int, discount: float) -> dict[Any, float]:
    """The greatest expected return from every state within a number of steps."""
    value = dict.fromkeys(dists, 0.0)
    for _ in range(steps):
        previous = value
        value = {
            here: max((_worth(dist, previous, discount) for dist in actions), default=0.0)
            for here, actions in dists.items()
        }
        if value == previous:
            break
    return value


def _worth(dist: Law, value: dict[Any, float], discount: float) -> float:
    return sum(p * (reward + discount * value[there]) for there, reward, p in dist)


_SOONER = (
    0.999  # a reward a step later is worth so much less, so that equal ways are taken the short way
)
_TIE = 1e-9


@final
class OptimalPlayer(AbstractPlayer[Any, Any]):
    """Plays a best action; among equally good ones it is uniform.

    It depends only on the state, not on the remaining steps, and discounts slightly, so that it does not delay a
    reward. If time is short and there is chance, it can fall short of ``optimal_return``.

    Args:
      game: what it plays: explicit, with at most 20,000 states within reach.
      others: the player of all other agents, in a game of several that hides nothing.
    """

    def __init__(self, game: AbstractGame[Any, Any], others: AnyPlayer | None = None) -> None:
        self.game = game
        self.others = others
        self.steps = step_limit(game)
        self._dists: dict[str, dict[Any, list[Law]]] = {agent: {} for agent in game.agents}
        self._value: dict[str, dict[Any, float]] = {agent: {} for agent in game.agents}

    def action_dist(self, state: Any, agent: str) -> Distribution[Any]:
        """The distribution of the best actions.

        Raises:
          NotEnumerableError: the optimum of this game cannot be computed.
        """
        if state not in self._value[agent]:
            self._look(state, agent)
        discount, value = self.game.discount * _SOONER, self._value[agent]
        worths = [_worth(dist, value, discount) for dist in self._dists[agent][state]]
        legal = self.game.legal_actions(state, agent) or ()
        best = max(worths) - _TIE
        return uniform([a for a, worth in zip(legal, worths, strict=True) if worth >= best])

    def _look(self, state: Any, agent: str) -> None:
        """Solve what can be reached from a state; what was solved before comes out the same."""
        dists = _reachable_dists(self.game, state, agent, self.others)
        if dists is None:
            raise NotEnumerableError(
                f"the best player of {self.game.name} cannot be computed: it needs an explicit game with at most "
                f"{STATE_LIMIT} states that has one agent, or hides nothing and gives the other agents a player"
            )
        self._dists[agent] |= dists
        self._value[agent] |= _values(dists, self.steps, self.game.discount * _SOONER)


def _reachable_dists(
    game: AbstractGame[Any, Any], start: Any, agent: str, others: AnyPlayer | None
) -> dict[Any, list[Law]] | None:
    """State to the distributions of the agent's actions, for all states that can be reached; one where it waits."""
    is_alone = len(game.agents) == 1
    is_open = others is not None and game.facts.perfect_information is True
    if not isinstance(game, AbstractExplicitGame) or not (is_alone or is_open):
        return None
    dists: dict[Any, list[Law]] = {}
    frontier = [start]
    while frontier:
        state = frontier.pop()
        if state in dists:
            continue
        if len(dists) >= STATE_LIMIT:
            return None
        laws = _laws(game, state, agent, others)
        if laws is None:
            return None
        dists[state] = laws
        frontier += [there for law in laws for there, _, _ in law if there not in dists]
    return dists


def _laws(
    game: AbstractExplicitGame[Any, Any], state: Any, agent: str, others: AnyPlayer | None
) -> list[Law] | None:
    """For each action of the agent, what follows it: (state, the agent's reward, probability)."""
    if game.is_terminal(state):
        return []
    acting = game.acting_agents(state)
    own: Sequence[Any] | None = (None,)
    if agent in acting:
        own = game.legal_actions(state, agent)
    if own is None:
        return None
    replies: list[tuple[dict[str, Any], float]] = [({}, 1.0)]
    for other in acting:
        if other != agent and others is not None:
            choice = _listed(others.action_dist(state, other))
            if choice is None:
                return None
            replies = [({**r, other: a}, p * q) for r, p in replies for a, q in choice]
    n, laws = game.agents.index(agent), []
    for action in own:
        law: Law = []
        for reply, p in replies:
            joint_action = {a: action if a == agent else reply[a] for a in acting}
            transitions = _listed(game.transition_dist(state, joint_action))
            if transitions is None:
                return None
            law += [(t.state, t.rewards_N[n], p * q) for t, q in transitions]
        laws.append(law)
    return laws


def _listed(dist: Distribution[Any]) -> list[tuple[Any, float]] | None:
    """The outcomes and their probabilities; ``None`` if they cannot be listed."""
    try:
        return [(outcome, float(q)) for outcome, q in dist.enumerate()]
    except NotEnumerableError:
        return None


def mean_optimal_return(
    game: AbstractGame[Any, Any], specs: list[EpisodeSpec[Any]]
) -> float | None:
    """The mean of ``optimal_return`` over the starts of fixed episodes, in a game of one agent.

    Returns:
      The mean; ``None`` if a start has no optimum, or the game raised while its distributions were listed.
    """
    limit = step_limit(game)
    values = []
    for spec in specs:
        if spec.start is None:
            return None
        try:
            value = optimal_return(game, spec.start.state.state, limit - spec.start.t)
        except Exception:  # noqa: BLE001 - where play meets the same error, it is recorded
            return None
        if value is None:
            return None
        values.append(value)
    return sum(values) / len(values) if values else None

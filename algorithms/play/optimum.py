"""The exact optimum of small explicit one-player games: its value, as a ceiling, and a player that plays it."""

from typing import Any, final

from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    AbstractPlayer,
    Distribution,
    EpisodeSpec,
    NotEnumerableError,
    step_limit,
    uniform,
)

STATE_LIMIT = 20_000


def optimal_return(game: AbstractGame[Any, Any], state: Any, steps: int) -> float | None:
    """The greatest expected return from a state within a number of steps, by backward induction.

    Args:
      game: the game.
      state: where to start.
      steps: how many steps are left.

    Returns:
      The value in units of reward, discounted by the game's gamma; ``None`` where it cannot be computed: a
      sampled game, several agents, actions or distributions that cannot be listed, or over 20,000 states.
    """
    if not isinstance(game, AbstractExplicitGame) or len(game.agents) != 1:
        return None
    dists = _reachable_dists(game, state)
    if dists is None:
        return None
    return _values(dists, steps, game.discount)[state]


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

    It looks at states alone, not at the steps that are left, and discounts a little, so that it does not put off what
    it can have. Where time is short and chance is at work, it can fall short of ``optimal_return``.

    Args:
      game: what it plays: explicit, of one agent, with at most 20,000 states within reach.
    """

    def __init__(self, game: AbstractGame[Any, Any]) -> None:
        self.game = game
        self.steps = step_limit(game)
        self._dists: dict[Any, list[Law]] = {}
        self._value: dict[Any, float] = {}

    def action_dist(self, state: Any, agent: str) -> Distribution[Any]:
        """The distribution of the best actions.

        Raises:
          NotEnumerableError: the optimum of this game cannot be computed.
        """
        if state not in self._value:
            self._look(state)
        discount = self.game.discount * _SOONER
        worths = [_worth(dist, self._value, discount) for dist in self._dists[state]]
        legal = self.game.legal_actions(state, agent) or ()
        best = max(worths) - _TIE
        return uniform([a for a, worth in zip(legal, worths, strict=True) if worth >= best])

    def _look(self, state: Any) -> None:
        """Solve what can be reached from a state; what was solved before comes out the same."""
        game = self.game
        dists = None
        if isinstance(game, AbstractExplicitGame) and len(game.agents) == 1:
            dists = _reachable_dists(game, state)
        if dists is None:
            raise NotEnumerableError(
                f"the best player of {game.name} cannot be computed: it needs an explicit game of one agent "
                f"with at most {STATE_LIMIT} states"
            )
        self._dists |= dists
        self._value |= _values(dists, self.steps, game.discount * _SOONER)


def _reachable_dists(
    game: AbstractExplicitGame[Any, Any], start: Any
) -> dict[Any, list[Law]] | None:
    """State to the distributions of its actions, for all states that can be reached."""
    dists: dict[Any, list[Law]] = {}
    frontier = [start]
    while frontier:
        state = frontier.pop()
        if state in dists:
            continue
        if len(dists) >= STATE_LIMIT:
            return None
        joint_actions = _joint_actions(game, state)
        if joint_actions is None:
            return None
        dists[state] = []
        for joint_action in joint_actions:
            dist = game.transition_dist(state, joint_action)
            if not dist.is_finite:
                return None
            outcomes = [(t.state, t.rewards_N[0], float(p)) for t, p in dist.enumerate()]
            dists[state].append(outcomes)
            frontier += [there for there, _, _ in outcomes if there not in dists]
    return dists


def _joint_actions(game: AbstractExplicitGame[Any, Any], state: Any) -> list[dict[str, Any]] | None:
    if game.is_terminal(state):
        return []
    acting = game.acting_agents(state)
    if not acting:
        return [{}]
    legal = game.legal_actions(state, acting[0])
    return None if legal is None else [{acting[0]: action} for action in legal]


def mean_optimal_return(
    game: AbstractGame[Any, Any], specs: list[EpisodeSpec[Any]]
) -> float | None:
    """The mean of ``optimal_return`` over the starts of fixed episodes.

    Returns:
      The mean; ``None`` where a start has no optimum, or the game raised while its distributions were listed.
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

"""The exact optimum of small explicit one-player games, as a ceiling for what can be learnt."""

from typing import Any

from tsmg import AbstractExplicitGame, AbstractGame, EpisodePlan, step_limit

STATE_LIMIT = 20_000


def optimal_return(game: AbstractGame[Any, Any], state: Any, steps: int) -> float | None:
    """The greatest expected return from a state within a number of steps, by backward induction.

    Args:
      game: the game.
      state: where to start.
      steps: how many steps are left.

    Returns:
      The value in units of reward, discounted by the game's gamma; ``None`` where it cannot be computed: a
      sampled game, several agents, actions or laws that cannot be listed, or over 20,000 states.
    """
    if not isinstance(game, AbstractExplicitGame) or len(game.agents) != 1:
        return None
    laws = _reachable_laws(game, state)
    if laws is None:
        return None
    value = dict.fromkeys(laws, 0.0)
    for _ in range(steps):
        previous = value
        value = {
            here: max(
                sum(p * (reward + game.discount * previous[there]) for there, reward, p in law)
                for law in actions
            )
            if actions
            else 0.0
            for here, actions in laws.items()
        }
        if value == previous:
            break
    return value[state]


Law = list[tuple[Any, float, float]]


def _reachable_laws(
    game: AbstractExplicitGame[Any, Any], start: Any
) -> dict[Any, list[Law]] | None:
    """State to the laws of its actions, for all states that can be reached."""
    laws: dict[Any, list[Law]] = {}
    frontier = [start]
    while frontier:
        state = frontier.pop()
        if state in laws:
            continue
        if len(laws) >= STATE_LIMIT:
            return None
        joint_actions = _joint_actions(game, state)
        if joint_actions is None:
            return None
        laws[state] = []
        for joint_action in joint_actions:
            dist = game.transition_dist(state, joint_action)
            if not dist.is_finite:
                return None
            law = [(t.state, t.rewards_N[0], float(p)) for t, p in dist.atoms()]
            laws[state].append(law)
            frontier += [there for there, _, _ in law if there not in laws]
    return laws


def _joint_actions(game: AbstractExplicitGame[Any, Any], state: Any) -> list[dict[str, Any]] | None:
    if game.is_terminal(state):
        return []
    acting = game.acting_agents(state)
    if not acting:
        return [{}]
    legal = game.legal_actions(state, acting[0])
    return None if legal is None else [{acting[0]: action} for action in legal]


def mean_optimal_return(
    game: AbstractGame[Any, Any], plans: list[EpisodePlan[Any]]
) -> float | None:
    """The mean of ``optimal_return`` over the starts of fixed episodes.

    Returns:
      The mean; ``None`` where a start has no optimum, or the game raised while its laws were listed.
    """
    limit = step_limit(game)
    values = []
    for plan in plans:
        if plan.start is None:
            return None
        try:
            value = optimal_return(game, plan.start.state.state, limit - plan.start.t)
        except Exception:  # noqa: BLE001 - where play meets the same error, it is recorded
            return None
        if value is None:
            return None
        values.append(value)
    return sum(values) / len(values) if values else None

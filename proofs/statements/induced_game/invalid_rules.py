"""A game and its invalid rule: what the game does with every text."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping

import attrs

from proofs.small_games import FiniteGame, State, finite_games
from proofs.statement import Sides, statement
from proofs.statements.by_hand import aligned
from tsmg import (
    AbstractInvalidRule,
    ClosedGame,
    Finite,
    Forfeit,
    Illegal,
    Malformed,
    Parsed,
    PlayDefault,
    PlayRandomLegal,
    StandStill,
    TextOutcome,
    Transition,
    deterministic,
)

_RULES: tuple[Callable[[float], AbstractInvalidRule], ...] = (
    lambda penalty: StandStill(penalty=penalty),
    lambda penalty: PlayDefault(action="a", penalty=penalty),
    lambda penalty: PlayRandomLegal(penalty=penalty),
    lambda penalty: Forfeit(penalty=penalty),
)
_OUTCOMES: tuple[TextOutcome[str], ...] = (
    Parsed("a"),
    Parsed("b"),
    Illegal("c"),
    Malformed("empty"),
)
_PENALTY = 0.25
# The next state, the reward, the penalty, and whether the game is forfeited.
_Answer = tuple[State, float, float, bool]


def _valid_texts_cost(game: FiniteGame) -> Sides:
    """The penalty is taken for valid texts, too."""
    return _closed_sides(game, valid_texts_cost=_PENALTY)


@statement(
    routes=("the closed game's distribution", "the definition of each rule"),
    example=FiniteGame(
        starts=deterministic(0),
        moves={
            0: {
                ("a",): deterministic(Transition(1, (1.0,))),
                ("b",): Finite({Transition(0, (0.0,)): 0.25, Transition(1, (2.0,)): 0.75}),
            }
        },
        discount=0.5,
        horizon=2,
    ),
    cases=finite_games(),
    wrong=_valid_texts_cost,
)
def a_game_with_an_invalid_rule_is_a_game_over_texts(game: FiniteGame) -> Sides:
    """Whatever an agent says, the closed game answers with a distribution over (next state, reward, penalty, forfeit).

    All four rules and all kinds of outcomes: a valid text moves the game and costs nothing; an invalid one costs the
    penalty, and the game stands still, plays a default or a random legal action, or is forfeited. Probabilities sum
    to 1.

    Assumes: one agent acts. Source: arXiv:2508.10839 (the idea); the rules are reconstructed.

    Theory: Theorem 2.1, Equation 2.2.
    """
    return _closed_sides(game, valid_texts_cost=0.0)


def _closed_sides(game: FiniteGame, *, valid_texts_cost: float) -> Sides:
    computed: list[float] = []
    expected: list[float] = []
    for rule, outcome in itertools.product(range(len(_RULES)), _OUTCOMES):
        dist = _closed_dist(attrs.evolve(game, invalid_rule=_RULES[rule](_PENALTY)), outcome)
        defined = _defined_dist(game, rule, outcome, valid_texts_cost)
        one, other = aligned(dist, defined)
        computed += [*one, sum(dist.values())]
        expected += [*other, 1.0]
    return computed, expected


def _closed_dist(game: FiniteGame, outcome: TextOutcome[str]) -> Mapping[_Answer, float]:
    """The closed game's answer in state 0."""
    closed = ClosedGame(game)
    table = closed.transition_dist(closed.close(0), {"player": outcome}).pmf()
    dist: dict[_Answer, float] = defaultdict(float)
    for after, p in table.items():
        state = after.state
        ((reward,), (penalty,)) = after.rewards_N, after.penalties_N
        key = (state.state, reward, penalty, bool(state.forfeited))
        dist[key] += float(p) if state.last_N == (outcome.kind,) else 0.0
    return dist


def _defined_dist(
    game: FiniteGame, rule: int, outcome: TextOutcome[str], valid_texts_cost: float
) -> Mapping[_Answer, float]:
    """The answer by the definition of the rules, which are numbered as in ``_RULES``."""
    valid = isinstance(outcome, Parsed)
    penalty = -valid_texts_cost if valid else -_PENALTY
    if not valid and rule in (0, 3):
        return {(0, 0.0, penalty, rule == 3): 1.0}
    played = {outcome.action: 1.0} if isinstance(outcome, Parsed) else {"a": 1.0}
    if not valid and rule == 2:
        played = {"a": 0.5, "b": 0.5}
    dist: dict[_Answer, float] = defaultdict(float)
    for action, share in played.items():
        for (state, (reward,)), p in game.moves[0][(action,)].enumerate():
            dist[state, reward, penalty, False] += share * float(p)
    return dist

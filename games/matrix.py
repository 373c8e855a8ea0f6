"""Matrix games: two players choose at the same time, once or in several rounds."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import attrs

from games.arguments import integer_field, number, probability_field
from games.attention import attentive
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    Finite,
    InvalidArgumentError,
    Transition,
    deterministic,
    fold,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, Forfeit

_AGENTS = ("row", "column")
_MOST_ACTIONS = 6  # of each agent, up to which all supports are tried

Payoffs = tuple[tuple[tuple[float, float], ...], ...]
Mixed = tuple[Fraction, ...]


@final
@attrs.frozen(cache_hash=True)
class Rounds:
    """The actions of every round so far, as (row, column)."""

    played: tuple[tuple[int, int], ...] = ()


def _to_payoffs(value: Any) -> Payoffs:
    try:
        table = tuple(
            tuple(tuple(number("payoffs", x) for x in pair) for pair in row) for row in value
        )
    except TypeError:  # something in it is no sequence
        table = ()
    widths = {len(row) for row in table}
    if len(widths) != 1 or 0 in widths or any(len(pair) != 2 for row in table for pair in row):
        raise InvalidArgumentError(
            f"'payoffs' must be rows of one length, of (row's, column's) pairs (got {value!r})"
        )
    return table  # type: ignore[return-value]  # every pair was seen to hold two numbers


@final
@attrs.frozen(kw_only=True)
class MatrixGame(AbstractExplicitGame[Rounds, int]):
    """Choose at the same time as the other player; a table gives the payoffs.

    Agents: ``row`` and ``column``; simultaneous.
    States: the actions so far.
    Actions: numbers of rows or columns.
    Observation text: the round, and the actions so far.
    Action text: the action's name.
    Rewards: the payoffs of every round.
    Invalid rule: forfeit, at a penalty of 1 (no round is paid).
    Metrics: regret, of the rounds that were paid (``games.matrix.regret``).

    Attributes:
      payoffs: (row's, column's) payoff for each row and column.
      row_actions, column_actions: the actions' names.
      rounds: number of rounds.
    """

    payoffs: Payoffs = attrs.field(converter=_to_payoffs)
    row_actions: tuple[str, ...] = attrs.field(converter=tuple)
    column_actions: tuple[str, ...] = attrs.field(converter=tuple)
    rounds: int = integer_field("rounds", default=1, least=1)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    agents = _AGENTS

    @row_actions.default
    def _row_names(self) -> tuple[str, ...]:
        return _letters(len(self.payoffs))

    @column_actions.default
    def _column_names(self) -> tuple[str, ...]:
        return _letters(len(self.payoffs[0]))

    @row_actions.validator
    def _check_rows(self, attribute: "attrs.Attribute[tuple[str, ...]]", value: object) -> None:
        _check_names("row_actions", self.row_actions, len(self.payoffs))

    @column_actions.validator
    def _check_columns(self, attribute: "attrs.Attribute[tuple[str, ...]]", value: object) -> None:
        _check_names("column_actions", self.column_actions, len(self.payoffs[0]))

    @horizon.default
    def _all_rounds(self) -> int:
        return self.rounds

    @facts.default
    def _declare(self) -> Facts:
        cells = [pair for row in self.payoffs for pair in row]
        flat = [x for pair in cells for x in pair]
        transposed = tuple(
            tuple((b, a) for a, b in column) for column in zip(*self.payoffs, strict=True)
        )
        return Facts(
            zero_sum=all(a + b == 0 for a, b in cells),
            perfect_information=True,
            text_separates_states=True,
            stochastic_start=False,
            stochastic_transitions=False,
            symmetric=transposed == self.payoffs and self.row_actions == self.column_actions,
            return_bounds=(self.rounds * min(flat), self.rounds * max(flat)),
            longest_game=self.rounds,
        )

    def initial_state_dist(self) -> Distribution[Rounds]:
        return deterministic(Rounds())

    def is_terminal(self, state: Rounds) -> bool:
        return len(state.played) >= self.rounds

    def acting_agents(self, state: Rounds) -> tuple[str, ...]:
        return () if self.is_terminal(state) else _AGENTS

    def legal_actions(self, state: Rounds, agent: str) -> tuple[int, ...]:
        return () if self.is_terminal(state) else tuple(range(len(self._names(agent))))

    def transition_dist(
        self, state: Rounds, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Rounds]]:
        row, column = joint_action["row"], joint_action["column"]
        after = Rounds((*state.played, (row, column)))
        return deterministic(Transition(after, self.payoffs[row][column]))

    def _names(self, agent: str) -> tuple[str, ...]:
        return self.row_actions if agent == "row" else self.column_actions

    def observation_text(self, state: Rounds, agent: str) -> str:
        own = _AGENTS.index(agent)
        played = [
            (self.row_actions[row], self.column_actions[column]) for row, column in state.played
        ]
        lines = [f"You are the {agent} player."]
        lines += [
            f"Round {n}: you chose {names[own]}, the other player chose {names[1 - own]}."
            for n, names in enumerate(played, start=1)
        ]
        if not self.is_terminal(state):
            lines.append(f"Now: round {len(played) + 1} of {self.rounds}.")
        return "\n".join(lines)

    def metrics(self, episode: Episode[Rounds], agent: str) -> Mapping[str, float]:
        """The external ``regret`` (``games.matrix.regret``); none if no round was paid."""
        return {"regret": regret(self, episode, agent)} if _paid(episode) else {}

    def action_text(self, state: Rounds, agent: str, action: int) -> str:
        return self._names(agent)[action]

    def rules_text(self, agent: str) -> str:
        own = _AGENTS.index(agent)
        often = "once" if self.rounds == 1 else f"in each of {self.rounds} rounds"
        lines = [
            f"- you choose {(row, column)[own]}, the other player chooses {(row, column)[1 - own]}: you get "
            f"{self.payoffs[r][c][own]:g}, the other player gets {self.payoffs[r][c][1 - own]:g}"
            for r, row in enumerate(self.row_actions)
            for c, column in enumerate(self.column_actions)
        ]
        return (
            f"You and another player choose at the same time, {often}:\n"
            + "\n".join(lines)
            + f"\nA move is one of: {', '.join(self._names(agent))}."
        )

    def scripted_player(self) -> "EquilibriumPlayer":
        return EquilibriumPlayer(game=self)


def regret(game: MatrixGame, episode: Episode[Rounds], agent: str) -> float:
    """How much more the best single action would have paid the agent over all rounds, given the other's actions.

    Args:
      game: the game.
      episode: an episode of it.
      agent: name of the agent.

    Source: S. Hart, A. Mas-Colell, "A simple adaptive procedure leading to correlated equilibrium", 2000.

    Returns:
      The external regret of the whole episode; negative if the agent did better than any single action. Unit: reward.
    """
    own, played = _AGENTS.index(agent), _paid(episode)

    def pays(mine: int, other: int) -> float:
        row, column = (mine, other) if own == 0 else (other, mine)
        return game.payoffs[row][column][own]

    count = len(game.payoffs) if own == 0 else len(game.payoffs[0])
    fixed = (sum(pays(mine, pair[1 - own]) for pair in played) for mine in range(count))
    return max(fixed) - sum(pays(pair[own], pair[1 - own]) for pair in played)


def _paid(episode: Episode[Rounds]) -> tuple[tuple[int, int], ...]:
    """The rounds of an episode, which may have begun in the middle of a game."""
    before = len(episode.start.state.state.played)
    return episode.final_state.state.played[before:]


def _letters(count: int) -> tuple[str, ...]:
    return tuple(f"a{i + 1}" for i in range(count))


def _check_names(name: str, names: tuple[str, ...], count: int) -> None:
    are_texts = all(isinstance(text, str) for text in names)
    if not are_texts or not len(names) == len({fold(text) for text in names}) == count:
        raise InvalidArgumentError(f"{name!r} must be {count} different names (got {names!r})")


def best_responses(game: MatrixGame, agent: str, other: Sequence[Fraction]) -> tuple[int, ...]:
    """The actions of one round with the greatest expected payoff against a mixed action of the other agent.

    Args:
      game: the game; its payoffs are read as exact fractions.
      agent: name of the agent that responds.
      other: the probabilities of the other agent's actions.
    """
    values = _values(game, agent, other)
    return tuple(a for a, value in enumerate(values) if value == max(values))


def _values(game: MatrixGame, agent: str, other: Sequence[Fraction]) -> list[Fraction]:
    """The expected payoff of each of the agent's actions."""
    table = [[tuple(map(Fraction, pair)) for pair in row] for row in game.payoffs]
    if agent == "row":
        return [
            sum((p * pair[0] for p, pair in zip(other, row, strict=True)), Fraction(0))
            for row in table
        ]
    return [
        sum((p * pair[1] for p, pair in zip(other, column, strict=True)), Fraction(0))
        for column in zip(*table, strict=True)
    ]


def equilibria(game: MatrixGame) -> tuple[tuple[Mixed, Mixed], ...]:
    """The Nash equilibria of one round with supports of equal size, exactly, by support enumeration.

    A nondegenerate game has no others.

    Source: R. Porter, E. Nudelman, Y. Shoham, "Simple search methods for finding a Nash equilibrium", 2008.
    """
    rows, columns = len(game.payoffs), len(game.payoffs[0])
    equilibria = []
    for size in range(1, min(rows, columns) + 1):
        for used_rows in itertools.combinations(range(rows), size):
            for used_columns in itertools.combinations(range(columns), size):
                column = _indifferent(game, "row", used_rows, used_columns)
                row = _indifferent(game, "column", used_columns, used_rows)
                if row and column and _is_equilibrium(game, row, column):
                    equilibria.append((row, column))
    return tuple(dict.fromkeys(equilibria))


def _is_equilibrium(game: MatrixGame, row: Mixed, column: Mixed) -> bool:
    def is_best(agent: str, own: Mixed, other: Mixed) -> bool:
        best = best_responses(game, agent, other)
        return all(not p or action in best for action, p in enumerate(own))

    return is_best("row", row, column) and is_best("column", column, row)


def _indifferent(
    game: MatrixGame, agent: str, own: Sequence[int], others: Sequence[int]
) -> Mixed | None:
    """The other agent's mixed action on ``others`` that makes the agent indifferent between its actions ``own``."""
    count = len(game.payoffs[0]) if agent == "row" else len(game.payoffs)

    def pays(mine: int, other: int) -> Fraction:
        pair = game.payoffs[mine][other] if agent == "row" else game.payoffs[other][mine]
        return Fraction(pair[_AGENTS.index(agent)])

    equations = [[*(pays(a, o) - pays(own[0], o) for o in others), Fraction(0)] for a in own[1:]]
    solution = _solve([*equations, [Fraction(1)] * (len(others) + 1)])
    if solution is None or min(solution) < 0:
        return None
    mixed = dict(zip(others, solution, strict=True))
    return tuple(mixed.get(o, Fraction(0)) for o in range(count))


def _solve(rows: list[list[Fraction]]) -> list[Fraction] | None:
    """The solution of a square system (augmented rows), or ``None`` if it is singular."""
    size = len(rows)
    rows = [list(row) for row in rows]
    for i in range(size):
        pivot = next((r for r in range(i, size) if rows[r][i]), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for r in range(size):
            if r != i:
                rows[r] = [x - rows[r][i] * y for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


@functools.lru_cache(maxsize=256)
def chosen_equilibrium(game: MatrixGame) -> tuple[Mixed, Mixed]:
    """An equilibrium of one round that two players who know the table may agree on: the one that pays both most.

    Of several equilibria it has the greatest sum of expected payoffs; of equal ones it is the first of ``equilibria``.
    If none was found, or an agent has more than six actions, each plays a best response to uniform play instead.

    Example:
      >>> dilemma = MatrixGame(payoffs=(((3, 3), (0, 5)), ((5, 0), (1, 1))))
      >>> [tuple(map(int, mixed)) for mixed in chosen_equilibrium(dilemma)]
      [(0, 1), (0, 1)]
    """
    rows, columns = len(game.payoffs), len(game.payoffs[0])
    found = equilibria(game) if max(rows, columns) <= _MOST_ACTIONS else ()
    if not found:
        row = best_responses(game, "row", (Fraction(1, columns),) * columns)
        column = best_responses(game, "column", (Fraction(1, rows),) * rows)
        return _evenly(row, rows), _evenly(column, columns)

    def paid(pair: tuple[Mixed, Mixed]) -> Fraction:
        row, column = pair
        first, second = _values(game, "row", column), _values(game, "column", row)
        return sum(
            (p * value for p, value in zip((*row, *column), (*first, *second), strict=True)),
            Fraction(),
        )

    return max(found, key=paid)


def _evenly(chosen: Sequence[int], count: int) -> Mixed:
    return tuple(Fraction(action in chosen, len(chosen)) for action in range(count))


@final
@attrs.frozen(kw_only=True)
class EquilibriumPlayer(AbstractPlayer[Rounds, int]):
    """Plays an equilibrium of one round in every round (``chosen_equilibrium``), and sometimes any action.

    Attributes:
      game: the game.
      attention: probability that it looks at the table, in [0, 1]; otherwise it takes any action.
    """

    game: MatrixGame
    attention: float = probability_field("attention", default=0.6)

    def action_dist(self, state: Rounds, agent: str) -> Distribution[int]:
        mixed = chosen_equilibrium(self.game)[_AGENTS.index(agent)]
        looking = Finite({action: p for action, p in enumerate(mixed) if p})
        return Finite(attentive(self.attention, looking, uniform(range(len(mixed)))).pmf())

"""Rock paper scissors, with lizard, Spock and further moves on request."""

from games.adapters.curated import Curated, RawEnv, Seen, zero_sum_of_two

_MOVES = ("rock", "paper", "scissors", "spock", "lizard")


def _name(move: int) -> str:
    return _MOVES[move] if move < len(_MOVES) else f"action {move + 1}"


def _count(raw: RawEnv) -> int:
    return int(raw.action_space(raw.possible_agents[0]).n)


def _beats(move: int, other: int) -> bool:
    """The environment's rule: of two even or two odd numbers the lower wins, otherwise the higher."""
    return (move < other) == ((move + other) % 2 == 0) and move != other


def _text(seen: Seen) -> str:
    last = int(seen.observation)
    shown = _name(last) if last < _count(seen.raw) else "none yet"
    return f"You are {seen.agent}. The last move of {seen.others[0]}: {shown}."


def _rules(raw: RawEnv, agent: str) -> str:
    moves = range(_count(raw))
    relations = [
        f"{_name(m)} beats {' and '.join(_name(other) for other in moves if _beats(m, other))}"
        for m in moves
    ]
    return (
        f"You play {raw.max_cycles} rounds of a game with {len(moves)} moves; both players choose one without seeing "
        f"the other's: {'; '.join(relations)}. A win is worth 1, a loss -1. A move is one of: "
        f"{', '.join(map(_name, moves))}."
    )


ROCK_PAPER_SCISSORS = Curated(
    observation_text=_text,
    action_text=lambda raw, agent, action: _name(action),
    rules=_rules,
    horizon=lambda raw: 2 * int(raw.max_cycles),
    facts=zero_sum_of_two,
)

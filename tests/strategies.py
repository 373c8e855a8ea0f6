"""What the tests share: small games, scripted policies, Hypothesis strategies, statistical checks.

A check is a function that answers whether a distribution holds, so that each test can hand it the library's
own implementation and a named wrong one (the negative control).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from typeguard import suppress_type_checks

from games.frozen_lake import FrozenLake, Lake
from tsmg import (
    AbstractExplicitGame,
    AbstractGame,
    AbstractInvalidRule,
    AbstractSampledGame,
    ActionText,
    Distribution,
    EpisodeKey,
    EpisodeSpec,
    Facts,
    Finite,
    ParseFailure,
    PlayerPolicy,
    Reply,
    Request,
    StandStill,
    Stream,
    Transition,
    UniformPlayer,
    deterministic,
    uniform,
)

# ---- games -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Countdown(AbstractExplicitGame[tuple[int, int], int]):
    """Turn-based, without chance: take 1 or 2 from a heap; who takes the last one wins."""

    heap: int = 5
    discount: float = 1.0
    horizon: int | None = 12
    invalid_rule: AbstractInvalidRule = StandStill()
    facts: Facts = Facts(zero_sum=True)
    agents = ("first", "second")

    def initial_state_dist(self) -> Distribution[tuple[int, int]]:
        return deterministic((self.heap, 0))

    def is_terminal(self, state: tuple[int, int]) -> bool:
        return state[0] == 0

    def acting_agents(self, state: tuple[int, int]) -> tuple[str, ...]:
        return (self.agents[state[1]],)

    def legal_actions(self, state: tuple[int, int], agent: str) -> tuple[int, ...]:
        return tuple(n for n in (1, 2) if n <= state[0])

    def transition_dist(
        self, state: tuple[int, int], joint_action: Mapping[str, int]
    ) -> Distribution[Transition[tuple[int, int]]]:
        heap, mover = state
        left = heap - joint_action[self.agents[mover]]
        rewards_N = (0.0, 0.0) if left else ((1.0, -1.0), (-1.0, 1.0))[mover]
        return deterministic(Transition((left, 1 - mover), rewards_N))

    def observation_text(self, state: tuple[int, int], agent: str) -> str:
        return f"{state[0]} left. It is {self.agents[state[1]]}'s move."

    def action_text(self, state: tuple[int, int], agent: str, action: int) -> str:
        return f"take {action}"


Rounds = tuple[tuple[str, str], ...]


@attrs.frozen(kw_only=True)
class Coins(AbstractExplicitGame[Rounds, str]):
    """Simultaneous: both show a coin, the wind turns the second one with probability 1/4.

    Equal coins pay the first agent, others the second. ``Pass`` is the no-op, if there is one.
    """

    rounds: int = 3
    with_noop: bool = True
    horizon: int | None = None
    invalid_rule: AbstractInvalidRule = StandStill()
    agents = ("even", "odd")

    @property
    def facts(self) -> Facts:
        return Facts(zero_sum=True, longest_game=self.rounds)

    def initial_state_dist(self) -> Distribution[Rounds]:
        return deterministic(())

    def is_terminal(self, state: Rounds) -> bool:
        return len(state) >= self.rounds

    def acting_agents(self, state: Rounds) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: Rounds, agent: str) -> tuple[str, ...]:
        return ("Heads", "Tails", "Pass") if self.with_noop else ("Heads", "Tails")

    def noop_action(self, state: Rounds, agent: str) -> str | None:
        return "Pass" if self.with_noop else None

    def transition_dist(
        self, state: Rounds, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[Rounds]]:
        turned = {"Heads": "Tails", "Tails": "Heads", "Pass": "Pass"}
        even, odd = joint_action["even"], joint_action["odd"]
        shown = Finite(
            {odd: Fraction(3, 4), turned[odd]: Fraction(1, 4)} if odd != "Pass" else {odd: 1}
        )

        def paid(coin: str) -> Transition[Rounds]:
            stake = 0.0 if "Pass" in (even, coin) else 1.0 if even == coin else -1.0
            return Transition((*state, (even, coin)), (stake, -stake))

        return shown.map(paid)

    def observation_text(self, state: Rounds, agent: str) -> str:
        return f"You are {agent}. Shown: {state}"

    def action_text(self, state: Rounds, agent: str, action: str) -> str:
        return action


@attrs.frozen(kw_only=True)
class Dice(AbstractExplicitGame[tuple[str, int], str]):
    """Chance moves alone at "roll"; then the player rolls on or holds; above 6, all is lost."""

    horizon: int | None = 20
    invalid_rule: AbstractInvalidRule = StandStill()
    agents = ("player",)

    def initial_state_dist(self) -> Distribution[tuple[str, int]]:
        return uniform([("roll", 0), ("roll", 1)])

    def is_terminal(self, state: tuple[str, int]) -> bool:
        return state[0] == "over"

    def acting_agents(self, state: tuple[str, int]) -> tuple[str, ...]:
        return self.agents if state[0] == "choose" else ()

    def legal_actions(self, state: tuple[str, int], agent: str) -> tuple[str, ...]:
        return ("roll", "hold")

    def transition_dist(
        self, state: tuple[str, int], joint_action: Mapping[str, str]
    ) -> Distribution[Transition[tuple[str, int]]]:
        stage, total = state
        if stage == "choose":
            if joint_action["player"] == "hold":
                return deterministic(Transition(("over", total), (float(total),)))
            return deterministic(Transition(("roll", total), (0.0,)))

        def rolled(face: int) -> Transition[tuple[str, int]]:
            stage = "over" if total + face > 6 else "choose"
            return Transition((stage, total + face), (0.0,))

        return uniform((1, 2, 3)).map(rolled)

    def observation_text(self, state: tuple[str, int], agent: str) -> str:
        return f"{state[0]}: {state[1]}"

    def action_text(self, state: tuple[str, int], agent: str, action: str) -> str:
        return action


@attrs.frozen(kw_only=True)
class Drift(AbstractSampledGame[int, int]):
    """A sampled game: a step of 1 or 2, and a gust that only a sampler knows."""

    horizon: int | None = 6
    facts: Facts = Facts(start_is_instance=True)
    agents = ("player",)

    def sample_initial_state(self, rng: Stream) -> int:
        return rng.integer(40)

    def sample_transition(
        self, state: int, joint_action: Mapping[str, int], rng: Stream
    ) -> Transition[int]:
        return Transition(state + joint_action["player"] + rng.integer(3), (1.0,))

    def is_terminal(self, state: int) -> bool:
        return state >= 40

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[int, ...]:
        return (1, 2)

    def observation_text(self, state: int, agent: str) -> str:
        return f"at {state}"

    def action_text(self, state: int, agent: str, action: int) -> str:
        return str(action)


@attrs.frozen(kw_only=True)
class Faulty(AbstractExplicitGame[int, str]):
    """Counts its steps, and breaks a law of its interface, named by ``fault``, in state 2."""

    fault: str = "none"
    horizon: int | None = 4
    agents = ("one", "two")

    def initial_state_dist(self) -> Distribution[int]:
        if self.fault == "start":
            raise ZeroDivisionError("no start")
        return deterministic(0)

    def is_terminal(self, state: int) -> bool:
        return False

    def acting_agents(self, state: int) -> tuple[str, ...]:
        return ("three",) if state == 2 and self.fault == "stranger" else self.agents

    def legal_actions(self, state: int, agent: str) -> tuple[str, ...]:
        return ("go",)

    def transition_dist(
        self, state: int, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[int]]:
        if state == 2 and self.fault == "raise":
            raise ZeroDivisionError("in the middle")
        nan, inf = math.nan, math.inf
        wrong = {"nan": (0.0, nan), "infinite": (inf, 0.0), "short": (0.0,), "long": (0.0,) * 3}
        rewards_N = wrong.get(self.fault, (0.0, 0.0)) if state == 2 else (0.0, 0.0)
        return deterministic(Transition(state + 1, rewards_N))

    def observation_text(self, state: int, agent: str) -> str:
        if state == (4 if self.fault == "end" else 2) and self.fault in ("observe", "end"):
            raise ZeroDivisionError("nothing to see")
        return f"step {state}"

    def action_text(self, state: int, agent: str, action: str) -> str:
        return action


def slippery_lake(**kwargs: Any) -> FrozenLake:
    """A lake with chance in its start and in its moves."""
    return FrozenLake(slippery=True, horizon=8, **kwargs)


SOUND_GAMES: tuple[AbstractGame[Any, Any], ...] = (
    Countdown(),
    Coins(),
    Dice(),
    Drift(),
    slippery_lake(),
)


# ---- policies --------------------------------------------------------------------------------


@attrs.frozen
class Mumbler:
    """Says one of its texts, drawn from the request's own stream; ``None`` is an unreadable reply."""

    texts: tuple[str | None, ...]

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        return [self._reply(request.stream().choice(self.texts)) for request in requests]

    def _reply(self, text: str | None) -> Reply:
        return Reply(
            text=text or "",
            parser_outcome=ParseFailure("nothing") if text is None else ActionText(text),
        )


def uniform_policy(game: AbstractGame[Any, Any]) -> PlayerPolicy:
    """Uniformly random canonical texts."""
    return PlayerPolicy(game, UniformPlayer(game))


def mumbler(game: AbstractGame[Any, Any]) -> Mumbler:
    """Texts of all kinds for a game: the canonical ones (of the start), foreign and unreadable."""
    state = game.sample_initial_state(Stream("texts"))
    agent = game.agents[0]
    legal = game.legal_actions(state, agent) or ()
    return Mumbler((*(game.action_text(state, agent, a) for a in legal), "<|im_end|>\ud800", None))


def specs(count: int, *, seed: int = 0, **kwargs: Any) -> list[EpisodeSpec[Any]]:
    """Plans for the members of one group."""
    return [EpisodeSpec(key=EpisodeKey(seed=seed, episode=i), **kwargs) for i in range(count)]


# ---- Hypothesis strategies -------------------------------------------------------------------


def examples(share: float) -> settings:
    """A share of the profile's examples, for tests whose single example is long."""
    return settings(max_examples=max(1, round(share * settings().max_examples)))


SPECIAL_TEXTS = (
    "",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "</s>",
    "\x00",
    "\u202e",
    "İ",
    "ß",
    "ﬁ",
)


def texts() -> st.SearchStrategy[str]:
    """Any text: lone surrogates, control characters, special tokens, bytes that are no text."""
    wild = st.text(st.characters(exclude_categories=()), max_size=12)
    bytes_ = st.binary(max_size=12)
    pieces = st.one_of(
        wild,
        bytes_.map(lambda b: b.decode(errors="replace")),
        bytes_.map(lambda b: b.decode(errors="surrogateescape")),
        st.sampled_from(SPECIAL_TEXTS),
        st.sampled_from(("left", "take 1", "Heads", "roll", "1")),
    )
    return st.lists(pieces, max_size=3).map("".join)


@st.composite
def finite_laws(draw: st.DrawFn, *, values: int = 4) -> Finite[int]:
    """Distributions over 0, ..., values - 1 in exact fractions, some of them 0."""
    weights = draw(st.lists(st.integers(0, 4), min_size=1, max_size=values).filter(any))
    return Finite({i: Fraction(weight, sum(weights)) for i, weight in enumerate(weights)})


@st.composite
def lakes(draw: st.DrawFn, *, sides: tuple[int, int] = (1, 4)) -> Lake:
    """Maps of any shape, with any number of holes and goals, and a start anywhere."""
    height, width = draw(st.integers(*sides)), draw(st.integers(*sides))
    size = height * width
    cells = draw(st.lists(st.sampled_from("FFFHG"), min_size=size, max_size=size))
    cells[draw(st.integers(0, size - 1))] = "S"
    return Lake.parse(["".join(cells[i : i + width]) for i in range(0, size, width)])


# ---- checks ----------------------------------------------------------------------------------


def agrees(draws: Iterable[Any], table: Mapping[Any, Any], *, sigmas: float = 5.0) -> bool:
    """Whether the frequencies of independent draws lie within sampling error of a table."""
    counts = Counter(draws)
    total = counts.total()
    if set(counts) - set(table):
        return False
    errors = {v: abs(counts[v] - total * float(p)) for v, p in table.items()}
    return all(
        errors[v] <= 1e-9 + sigmas * math.sqrt(total * float(p) * (1 - float(p)))
        for v, p in table.items()
    )


@suppress_type_checks
def draws_of(sample: Callable[[Stream], Any], count: int, *key: object) -> list[Any]:
    """Independent draws, each from a stream of its own (types are checked by shorter tests)."""
    return [sample(Stream("test", *key, i)) for i in range(count)]

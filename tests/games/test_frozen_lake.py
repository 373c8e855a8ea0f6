"""Frozen Lake: Gymnasium's dynamics, the distribution of random maps, texts, and published success rates."""

import functools
import itertools
import math
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import is_valid
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

from games.frozen_lake import (
    OBSERVATION_TEXTS,
    FrozenLake,
    Lake,
    LakeState,
    Move,
    MyopicPlayer,
    random_lake_dist,
)
from tests.strategies import agrees, draws_of, examples, lakes, slippery_lake, specs, uniform_policy
from tsmg import (
    Distribution,
    Ending,
    Illegal,
    InvalidArgumentError,
    NotEnumerableError,
    Parsed,
    PlayerPolicy,
    Stream,
    Transition,
    deterministic,
    play,
    split_starts,
)

Law = Callable[[LakeState, Mapping[str, Move]], Distribution[Transition[LakeState]]]
STYLES = tuple(OBSERVATION_TEXTS)


def described(lake: Lake) -> list[str]:
    """The map in Gymnasium's notation."""
    cells = lake.cells[: lake.start] + "S" + lake.cells[lake.start + 1 :]
    return [cells[i : i + lake.width] for i in range(0, len(cells), lake.width)]


# ---- transitions -----------------------------------------------------------------------------


def is_gymnasiums(dist: Law, lake: Lake, slippery: bool) -> bool:
    """The distribution equals Gymnasium's own table: states, rewards, endings and probabilities."""
    made = gymnasium.make("FrozenLake-v1", desc=described(lake), is_slippery=slippery)
    table: Any = made.unwrapped.P  # type: ignore[attr-defined]
    game = FrozenLake(map=lake, slippery=slippery)
    for position, move in itertools.product(range(len(lake.cells)), Move):
        state = LakeState(lake, position)
        theirs: dict[tuple[Any, ...], float] = defaultdict(float)
        for probability, there, reward, terminated in table[position][move.value]:
            theirs[there, float(reward), terminated] += probability
        if game.is_terminal(state):  # absorbing there, not played here
            assert game.acting_agents(state) == game.legal_actions(state, "player") == ()
            if set(theirs) != {(position, 0.0, True)}:
                return False
            continue
        ours = {
            (t.state.position, t.rewards_N[0], game.is_terminal(t.state)): float(p)
            for t, p in dist(state, {"player": move}).pmf().items()
        }
        assert {t.state.lake for t in dist(state, {"player": move}).support()} == {lake}
        if ours != pytest.approx(dict(theirs), abs=1e-12):
            return False
    return True


@examples(0.3)
@given(lakes(sides=(2, 4)), st.booleans())  # Gymnasium cannot read a map of width 1
def test_transitions_are_gymnasiums(lake: Lake, slippery: bool) -> None:
    assert is_gymnasiums(FrozenLake(slippery=slippery).transition_dist, lake, slippery)


def _ignores_the_ice(state: LakeState, joint: Mapping[str, Move]) -> Any:
    """A wrong distribution: never slips."""
    return FrozenLake().transition_dist(state, joint)


def _slips_backwards(state: LakeState, joint: Mapping[str, Move]) -> Any:
    """A wrong distribution: slips to any of the other three directions but one."""
    back = Move((joint["player"].value + 2) % 4)
    return FrozenLake(slippery=True).transition_dist(state, {"player": back})


def _wraps_round(state: LakeState, joint: Mapping[str, Move]) -> Any:
    """A wrong distribution: whoever leaves the map comes in on the other side."""
    down, right = {"LEFT": (0, -1), "DOWN": (1, 0), "RIGHT": (0, 1), "UP": (-1, 0)}[
        joint["player"].name
    ]
    row, column = divmod(state.position, 3)
    there = LakeState(state.lake, (row + down) % 3 * 3 + (column + right) % 3)
    return deterministic(Transition(there, (float(there.cell == "G"),)))


@pytest.mark.parametrize(
    ("dist", "slippery"),
    [(_ignores_the_ice, True), (_slips_backwards, True), (_wraps_round, False)],
)
def test_other_transitions_are_noticed(dist: Law, slippery: bool) -> None:
    lake = Lake.parse(["SFF", "FHF", "FFG"])
    assert is_gymnasiums(FrozenLake(slippery=slippery).transition_dist, lake, slippery)
    assert not is_gymnasiums(dist, lake, slippery)


def test_slip_0_is_the_deterministic_lake() -> None:
    state = LakeState(Lake.parse(["SF", "FG"]), 1)
    dist = FrozenLake().transition_dist(state, {"player": Move.DOWN})
    assert dist.pmf() == {Transition(LakeState(state.lake, 3), (1.0,)): 1}


def test_slipping_merges_equal_outcomes() -> None:
    """In the corner, left and up both stay: 2/3 together, in exact fractions."""
    state = LakeState(Lake.parse(["SF", "FG"]), 0)
    dist = FrozenLake(slippery=True).transition_dist(state, {"player": Move.LEFT})
    probabilities = {t.state.position: p for t, p in dist.pmf().items()}
    assert probabilities == {0: Fraction(2, 3), 2: Fraction(1, 3)}


# ---- random maps -----------------------------------------------------------------------------


def is_law_of_solvable_maps(dist: Distribution[Lake], size: int, frozen: Fraction) -> bool:
    """Inner cells frozen independently, given that Gymnasium calls the map valid."""
    brute: dict[Lake, Fraction] = {}
    for inner in itertools.product("FH", repeat=size * size - 2):
        cells = "F" + "".join(inner) + "G"
        rows = tuple(cells[i : i + size] for i in range(0, size * size, size))
        if is_valid([list(row) for row in rows], size):
            holes = inner.count("H")
            brute[Lake(rows)] = frozen ** (len(inner) - holes) * (1 - frozen) ** holes
    total = sum(brute.values())
    return dict(dist.pmf()) == {lake: p / total for lake, p in brute.items()}


@pytest.mark.parametrize(("size", "frozen"), [(2, 0.3), (3, 0.8), (3, 0.5)])
def test_random_maps_against_brute_force(size: int, frozen: float) -> None:
    dist = random_lake_dist(size, frozen)
    assert is_law_of_solvable_maps(dist, size, Fraction(str(frozen)))
    assert agrees(draws_of(dist.sample, 400, size, frozen), dist.pmf())


def test_other_laws_of_maps_are_noticed() -> None:
    frozen = Fraction(4, 5)
    blind = random_lake_dist(3, 0.8).condition(lambda lake: lake.cells[1] == "F")
    assert not is_law_of_solvable_maps(blind, 3, frozen)
    assert not is_law_of_solvable_maps(random_lake_dist(3, 0.7), 3, frozen)


@examples(0.5)
@given(lakes(sides=(2, 5)))
def test_solvable_means_gymnasiums_valid(lake: Lake) -> None:
    if lake.height == lake.width and lake.start == 0:
        assert lake.is_solvable() == is_valid([list(row) for row in lake.rows], lake.width)
    moved = Lake(lake.rows, lake.start)
    assert moved.is_solvable() == (_distance(moved) < math.inf)


def _distance(lake: Lake) -> float:
    """Steps from start to goal, by relaxing all cells at once (another road than a search)."""
    distances = [0.0 if cell == "G" else math.inf for cell in lake.cells]
    for _ in lake.cells:
        for i, cell in enumerate(lake.cells):
            if cell == "F":
                nearest = min(distances[lake.target(i, move)] for move in Move)
                distances[i] = min(distances[i], 1 + nearest)
    return distances[lake.start]


def test_all_4x4_maps_are_listed_and_6x6_maps_are_sampled() -> None:
    with suppress_type_checks():
        dist = FrozenLake().initial_state_dist().pmf()
    assert len(dist) == 3828
    assert sum(dist.values()) == 1
    large = FrozenLake(size=6).initial_state_dist()
    assert large.sample(Stream(0)).lake.is_solvable()
    with pytest.raises(NotEnumerableError, match="more than 2000 outcomes"):
        large.pmf(limit=2000)


@pytest.mark.parametrize(
    "game",
    [
        FrozenLake(size=2),
        FrozenLake(size=2, frozen_probability=1),
        FrozenLake(size=3, slippery=True),
        FrozenLake(map=("SF", "FG")),
        FrozenLake(map=("SFF", "FFG"), slippery=True),
    ],
)
def test_declared_facts_hold(game: FrozenLake) -> None:
    starts = game.initial_state_dist().support()
    facts = game.facts
    assert facts.stochastic_start == (len(starts) > 1)
    assert facts.start_is_instance == (game.map is None)
    sizes = {len(game.transition_dist(starts[0], {"player": move}).support()) for move in Move}
    assert facts.stochastic_transitions == (max(sizes) > 1)
    if facts.start_is_instance:
        assert len({game.instance_key(start) for start in starts}) == len(starts)


# ---- texts -----------------------------------------------------------------------------------


def reachable(game: FrozenLake) -> list[LakeState]:
    """All states that can be reached from the starts."""
    seen: dict[LakeState, None] = {}
    frontier = list(game.initial_state_dist().support())
    while frontier:
        state = frontier.pop()
        if state not in seen:
            seen[state] = None
            moves = game.legal_actions(state, "player")
            dists = (game.transition_dist(state, {"player": move}) for move in moves)
            frontier += [t.state for dist in dists for t in dist.support()]
    return list(seen)


def separates(text: Callable[[LakeState, str], str], states: list[LakeState]) -> bool:
    """The text is total, pure, and different in different states."""
    first = [text(state, "player") for state in states]
    again = [text(LakeState(state.lake, state.position), "player") for state in states]
    return first == again and len(set(first)) == len(states)


@pytest.mark.parametrize("style", STYLES)
def test_texts_separate_the_states_of_a_game(style: Any) -> None:
    game = FrozenLake(size=3, frozen_probability=0.5, observation=style)
    states = reachable(game)
    assert game.facts.text_separates_states
    assert {state.cell for state in states} == set("FHG")
    assert separates(game.observation_text, states)


@examples(0.3)
@given(lakes(), st.sampled_from(STYLES))
def test_texts_separate_the_states_of_any_map(lake: Lake, style: Any) -> None:
    game = FrozenLake(map=lake, slippery=True, observation=style)
    assert separates(game.observation_text, reachable(game))


def test_a_text_that_hides_the_map_is_noticed() -> None:
    game = FrozenLake(size=3, frozen_probability=0.5)
    states = reachable(game)
    assert not separates(lambda state, agent: str(state.position), states)
    calls = itertools.count()
    assert not separates(lambda state, agent: f"{state} {next(calls)}", states)


def test_texts_by_hand() -> None:
    lake = Lake.parse(["SFH", "FFG"])
    start, hole, goal = (LakeState(lake, i) for i in (0, 2, 5))
    grid, words, both = (OBSERVATION_TEXTS[style] for style in STYLES)
    facts = "Goal: (2, 3)\nHoles: (1, 3)"
    assert grid(start, "player") == "P F H\nF F G"
    assert grid(goal, "player") == "F F H\nF F P\nYou reached the goal."
    assert words(start, "player") == f"Size: 2 rows, 3 columns\nYou: (1, 1)\n{facts}"
    assert words(hole, "player").endswith("You: (1, 3)\n" + facts + "\nYou fell into a hole.")
    for state in (start, hole, goal):
        map_alone = grid(state, "player").partition("\nYou ")[0]
        assert both(state, "player") == f"{map_alone}\n{words(state, 'player')}"


@examples(0.3)
@given(lakes(), st.sampled_from([str, str.upper, " {}\n".format]))
def test_canonical_texts_round_trip(lake: Lake, dress: Callable[[str], str]) -> None:
    game = FrozenLake(map=lake)
    state = LakeState(lake, lake.start)
    for move in game.legal_actions(state, "player"):
        text = game.action_text(state, "player", move)
        assert game.read_action(state, "player", dress(text)) == Parsed(move)
        assert game.read_action(state, "player", f"{text}{text}") == Illegal(text * 2)


def test_rules_tell_of_the_ice() -> None:
    state = LakeState(Lake.parse(["SG"]), 0)
    dry, wet = FrozenLake().rules_text("player"), FrozenLake(slippery=True).rules_text("player")
    assert "slippery" not in dry
    assert "1/3" in wet
    for move in Move:
        assert FrozenLake().action_text(state, "player", move) in dry


# ---- published success rates -----------------------------------------------------------------

# Derived independently of this repository: exact success probability, mean over 1500 maps (three decimals).
REFERENCE = {
    (0.8, False, 8): {"uniform": 0.008, "random down/right": 0.274, "optimal": 1.000},
    (0.9, True, 15): {"uniform": 0.064, "random down/right": 0.233, "optimal": 0.377},
    (0.8, True, 15): {"uniform": 0.036, "random down/right": 0.132, "optimal": 0.271},
}
PLAYERS: dict[str, Callable[[Any], Any]] = {  # action values (cell, move) -> values of cells
    "uniform": lambda values: values.mean(axis=1),
    "random down/right": lambda values: values[:, [Move.DOWN.value, Move.RIGHT.value]].mean(axis=1),
    "optimal": lambda values: values.max(axis=1),
}
MAPS = 150


def successes(game: FrozenLake, lake: Lake) -> list[float]:
    """Each player's probability of reaching the goal, by backward induction on the game's distributions."""
    cells = len(lake.cells)
    dist = np.zeros((cells, len(Move), cells))
    for here in range(cells):
        state = LakeState(lake, here)
        dist[here, :, here] = game.is_terminal(state)
        for move in game.legal_actions(state, "player"):
            for transition, p in game.transition_dist(state, {"player": move}).enumerate():
                dist[here, move.value, transition.state.position] += float(p)
    found = []
    for player in PLAYERS.values():
        value = np.array([float(cell == "G") for cell in lake.cells])
        for _ in range(game.horizon):
            value = player(dist @ value)
        found.append(float(value[lake.start]))
    return found


@functools.cache
@suppress_type_checks
def measured(setting: tuple[float, bool, int]) -> dict[str, tuple[float, float]]:
    """Each player's mean success over random maps, and its standard error."""
    frozen, slippery, horizon = setting
    game = FrozenLake(frozen_probability=frozen, slippery=slippery, horizon=horizon)
    starts = [game.sample_initial_state(Stream("maps", i)) for i in range(MAPS)]
    values = np.array([successes(game, start.lake) for start in starts])
    pairs = zip(values.mean(axis=0), values.std(axis=0) / math.sqrt(MAPS), strict=True)
    return dict(zip(PLAYERS, pairs, strict=True))


def is_published(mean: float, error: float, published: float) -> bool:
    """Within four standard errors of both samples of maps, and the rounding."""
    return abs(mean - published) <= 4 * error * math.sqrt(1 + MAPS / 1500) + 0.0005


@pytest.mark.parametrize("setting", REFERENCE, ids=str)
@pytest.mark.parametrize("player", PLAYERS)
def test_success_rates_are_the_published_ones(
    setting: tuple[float, bool, int], player: str
) -> None:
    assert is_published(*measured(setting)[player], REFERENCE[setting][player])


@pytest.mark.parametrize(("right", "wrong"), [*itertools.permutations(REFERENCE, 2)], ids=str)
def test_success_rates_of_another_lake_are_noticed(
    right: tuple[float, bool, int], wrong: tuple[float, bool, int]
) -> None:
    assert not is_published(*measured(wrong)["optimal"], REFERENCE[right]["optimal"])


# ---- the game as a whole ---------------------------------------------------------------------


def test_success_is_reaching_the_goal() -> None:
    game = FrozenLake(map=("SFH", "FFG"), horizon=4)
    records = play(game, uniform_policy(game), specs(60))
    ends = {(r.final_state.state.cell, r.ending): r for r in records}  # type: ignore[union-attr]
    assert set(ends) == {
        ("G", Ending.TERMINATED),
        ("H", Ending.TERMINATED),
        ("F", Ending.TRUNCATED),
    }
    for (cell, _), record in ends.items():
        assert game.success(record, "player") is (cell == "G")  # type: ignore[arg-type]
        assert record.episode_return("player") == float(cell == "G")  # type: ignore[union-attr]


def test_the_horizon_follows_the_size_of_the_map() -> None:
    assert FrozenLake().horizon == 12
    assert FrozenLake(size=6).horizon == 18
    assert FrozenLake(map=("S" + "F" * 8 + "G",)).horizon == 30
    assert FrozenLake(size=6, horizon=2).horizon == 2


def test_the_scripted_player_is_mediocre_and_walks_into_dead_ends() -> None:
    lake = Lake.parse(["SFF", "FHF", "FHG"])
    dist = MyopicPlayer(attention=1).action_dist(LakeState(lake, 0), "player")
    assert dist.pmf() == {Move.DOWN: Fraction(1, 2), Move.RIGHT: Fraction(1, 2)}
    dist = MyopicPlayer(attention=0.4).action_dist(LakeState(lake, 6), "player")
    assert dist.prob(Move.UP) == Fraction(4, 10) + Fraction(6, 40)
    assert dist.prob(Move.RIGHT) == Fraction(6, 40)
    game = FrozenLake()
    starts = [split_starts(game, "held_out").sample_initial_state(Stream(i)) for i in range(30)]
    assert len(set(starts)) > 10
    with suppress_type_checks():
        records = play(game, PlayerPolicy(game, game.scripted_player()), specs(100))
    rate = sum(game.success(r, "player") for r in records) / 100  # type: ignore[arg-type]
    assert 0.2 < rate < 0.6
    for attention in (-0.1, 1.1, float("nan"), "much"):
        with pytest.raises(InvalidArgumentError, match=r"'attention' must be in \[0, 1\]"):
            MyopicPlayer(attention=attention)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 1}, "'size' must be an integer of at least 2"),
        ({"size": "4"}, "'size' must be an integer of at least 2"),
        ({"size": None}, "'size' must be an integer of at least 2"),
        ({"frozen_probability": 0}, r"'frozen_probability' must be in \(0, 1\]"),
        ({"frozen_probability": 1.5}, r"'frozen_probability' must be in \(0, 1\]"),
        ({"frozen_probability": float("nan")}, r"'frozen_probability' must be in \(0, 1\]"),
        ({"frozen_probability": "high"}, r"'frozen_probability' must be in \(0, 1\]"),
        ({"horizon": 0}, "'horizon' must be an integer of at least 1"),
        ({"observation": "smell"}, "'observation' must be one of grid, coordinates, both"),
        ({"map": ("SF", "F")}, "'rows' must have one common length"),
        ({"map": ()}, "'rows' must have one common length"),
        ({"map": ("SX",)}, "'rows' must consist of S, F, H and G"),
        ({"map": ("FG",)}, r"'rows' must have exactly one S \(got 0\)"),
        ({"map": ("SS",)}, r"'rows' must have exactly one S \(got 2\)"),
    ],
)
def test_wrong_arguments_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        FrozenLake(**kwargs)


def test_states_keep_no_hash_of_another_process(tmp_path: Path) -> None:
    """Hashes are cached, and differ between processes: a pickle must not carry them along."""
    state = slippery_lake().sample_initial_state(Stream(0))
    hash(state)
    file = tmp_path / "state"
    file.write_bytes(pickle.dumps(state))
    script = (
        "import pickle, pathlib, sys; from games.frozen_lake import Lake, LakeState;"
        "state = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes());"
        "fresh = LakeState(Lake(state.lake.rows, state.lake.start), state.position);"
        "assert state == fresh and hash(state) == hash(fresh)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(file)], env=environment, check=True, cwd=root)

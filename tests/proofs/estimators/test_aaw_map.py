"""The map of where AAW pays: against the laboratory's enumeration, and what the page says of it."""

import csv
import functools
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from algorithms import MSGRPOConfig
from algorithms.cli import main as cli
from proofs import TrajectoryDistribution, analyse_estimator
from proofs.estimators.aaw_map import (
    HORIZONS,
    SIZES,
    SUCCESS_RATES,
    Point,
    aaw_map,
    figures,
    read_csv,
)
from proofs.estimators.corridor import Corridor
from proofs.small_games import FiniteGame, tabular_policy
from tsmg import Facts, InvalidArgumentError, Transition, deterministic

DOCS = Path(__file__).parents[3] / "docs"


@functools.cache
def the_map(divided: bool = True, irrelevant: float = 0.0) -> tuple[Point, ...]:
    return tuple(aaw_map(divided=divided, irrelevant=irrelevant))


def corridor_law(rate: float, horizon: int, irrelevant: int = 0) -> TrajectoryDistribution:
    """The corridor as a game, played by a table; steps that do not matter come first."""
    moves: dict[Any, Any] = {}
    for n in range(irrelevant):
        after = ("idle", n + 1) if n + 1 < irrelevant else (0, True)
        moves["idle", n] = {
            (action,): deterministic(Transition(after, (0.0,))) for action in ("right", "wrong")
        }
    for t in range(horizon):
        for fine in (True, False):
            for action in ("right", "wrong"):
                won = fine and action == "right"
                paid = float(won and t + 1 == horizon)
                dist = deterministic(Transition((t + 1, won), (paid,)))
                moves.setdefault((t, fine), {})[(action,)] = dist
    game = FiniteGame(
        starts=deterministic(("idle", 0) if irrelevant else (0, True)),
        moves=moves,
        texts={
            state: f"{state[0]} {state[1]}" if state[0] == "idle" else f"step {state[0]}"
            for state in moves
        },
        facts=Facts(perfect_information=True),
    )
    p = rate ** (1 / horizon)
    dists = {f"step {t}": {"right": p, "wrong": 1 - p} for t in range(horizon)}
    dists |= {f"idle {n}": {"right": 0.5, "wrong": 0.5} for n in range(irrelevant)}
    return TrajectoryDistribution.of(game, tabular_policy(("right", "wrong"), dists=dists))


@pytest.mark.parametrize(
    ("rate", "horizon", "size", "kept", "irrelevant"),
    [(0.3, 1, 3, 1, 0), (0.3, 2, 3, 2, 0), (0.6, 2, 4, 2, 0), (0.3, 1, 3, 1, 2), (0.4, 2, 3, 2, 1)],
)
@pytest.mark.parametrize("divided", [True, False])
def test_figures_are_those_of_the_laboratory(
    rate: float, horizon: int, size: int, kept: int, irrelevant: int, divided: bool
) -> None:
    dist = corridor_law(rate, horizon, irrelevant)
    corridor = Corridor(success_rate=rate, horizon=horizon, irrelevant=irrelevant)
    assert dist.expected_return("player") == pytest.approx(rate)
    assert float(dist.gradient_D @ dist.gradient_D) == pytest.approx(corridor.gradient_square)
    for sampling in ("aaw", "uniform", "all"):
        mine = figures(corridor, size=size, kept=kept, sampling=sampling, divided=divided)
        config = MSGRPOConfig(
            groups=1,
            group_size=size,
            kept_episodes=kept,
            sampling=sampling,
            std="population" if divided else "none",
            eps=0.0,
        )
        found = analyse_estimator(dist, config)
        assert found.exact and found.cosine == pytest.approx(1.0)
        assert (mine.signal, mine.variance, mine.snr) == pytest.approx(
            (found.scale, found.variance, found.snr), abs=1e-12
        )
        assert mine.generated == pytest.approx(found.generated_tokens)
        assert mine.trained == pytest.approx(found.trained_tokens)
        spared = figures(
            corridor, size=size, kept=kept, sampling=sampling, divided=divided, skipped=True
        )
        skipping = attrs.evolve(config, zero_variance_groups="skipped")
        assert spared.trained == pytest.approx(analyse_estimator(dist, skipping).trained_tokens)
        assert (spared.trained < mine.trained) == (sampling == "aaw")


def test_the_page_holds_the_present_map() -> None:
    """The committed table is what the command makes; the counts and ends in the page are its own."""
    with (DOCS / "theory/aaw_map.csv").open() as stream:
        written = list(csv.DictReader(stream))
    points = the_map()
    assert len(written) == len(points) == 546
    for row, point in zip(written, points, strict=True):
        for name, value in row.items():
            assert float(value) == pytest.approx(getattr(point, name), rel=1e-3)
    assert {p.horizon for p in points} == set(HORIZONS) and {p.size for p in points} == set(SIZES)
    page = (DOCS / "theory/aaw_map.md").read_text()
    for name, ends in (
        ("over_uniform", "0.85 to 17.8 | 518 of 546 cells"),
        ("over_full_trained", "0.42 to 15.8 | 491 of 546"),
        ("over_full_generated", "0.013 to 1.87 | 73 of 546"),
    ):
        values = sorted(getattr(point, name) for point in points)
        wins = sum(value > 1 for value in values)
        low, high, count = ends.split(" ")[0], ends.split(" ")[2], int(ends.split(" ")[4])
        assert ends in page
        assert (f"{values[0]:.2g}", f"{values[-1]:.3g}", wins) == (low, high, count)


def test_what_the_page_concludes() -> None:
    points = the_map()
    losses = [p for p in points if p.over_uniform < 1]
    assert losses and all(p.success_rate == 0.5 for p in losses)
    useful = [p for p in points if p.over_full_generated > 1.1]
    assert useful and all(p.success_rate <= 0.2 and p.horizon >= 4 for p in useful)
    assert {p.size // p.kept for p in useful} == {2, 4, 8}
    bare = the_map(divided=False)
    assert all(p.over_uniform > 1 - 1e-9 and p.over_full_trained > 1 - 1e-9 for p in bare)
    assert sum(p.over_full_generated > 1 for p in bare) == 113


@pytest.mark.parametrize(
    ("irrelevant", "ahead", "greatest", "trained", "most"),
    [(0, 36, 1.87, 491, 15.8), (0.25, 0, 1.10, 493, 14.8), (1, 0, 1.05, 510, 14.4), (4, 0, 1.03, 510, 14.2)],
)  # fmt: skip
def test_steps_that_do_not_matter_take_the_gain_per_generated_step(
    irrelevant: float, ahead: int, greatest: float, trained: int, most: float
) -> None:
    """Computed elsewhere: cells more than a tenth ahead, and the greatest ratio; the gain per trained step stays."""
    points = the_map(irrelevant=irrelevant)
    generated = [p.over_full_generated for p in points]
    assert sum(ratio > 1.1 for ratio in generated) == ahead
    assert round(max(generated), 2) == greatest
    learnt = [p.over_full_trained for p in points]
    assert sum(ratio > 1 for ratio in learnt) == trained
    assert round(max(learnt), 1) == most
    page = (DOCS / "theory/aaw_map.md").read_text()
    assert f"| {irrelevant:g} | {ahead} | {greatest:.2f} | {trained} of 546 | {most} |" in page


def test_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["aaw-map", "--output", str(tmp_path), "--size", "4"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "aaw_map.png").stat().st_size > 10_000
    assert (tmp_path / "aaw_map.csv").read_text() == (DOCS / "theory/aaw_map.csv").read_text()
    read, made = read_csv(tmp_path / "aaw_map.csv")[-1], the_map()[-1]
    assert (read.size, read.kept, read.horizon) == (made.size, made.kept, made.horizon)
    assert read.over_uniform == pytest.approx(made.over_uniform, rel=1e-3)


def test_what_cannot_be_written_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for command in (
        ["aaw-map", "--output", str(file)],
        ["start-weights", "--plot", "curves.foo"],
        ["start-weights", "--plot", str(tmp_path / "nowhere/curves.png")],
    ):
        result = CliRunner().invoke(cli.main, command)
        assert result.exit_code == 2 and "Error: Invalid value" in result.output


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_refusals(rate: float) -> None:
    with pytest.raises(InvalidArgumentError):
        Corridor(success_rate=rate)
    with pytest.raises(InvalidArgumentError):
        Corridor(success_rate=0.5, horizon=0)
    with pytest.raises(InvalidArgumentError):
        Corridor(success_rate=0.5, irrelevant=-0.5)
    with pytest.raises(InvalidArgumentError):
        figures(Corridor(success_rate=0.5), size=4, kept=5, sampling="aaw")


def test_points_are_of_the_grid() -> None:
    assert {p.success_rate for p in aaw_map(sizes=(4,))} == set(SUCCESS_RATES)
    assert all(isinstance(p, Point) and p.kept < p.size for p in aaw_map(horizons=(1,)))

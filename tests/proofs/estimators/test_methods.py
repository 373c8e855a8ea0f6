"""All methods on five games: figures that are known otherwise, and the table as the command prints it."""

import math
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from algorithms.cli.main import main
from algorithms.method.presets import PRESETS
from proofs.estimators.methods import (
    RATES,
    analysed,
    example_games,
    method_config,
    start_weight,
    tables,
)
from proofs.estimators.start_weights import Design, start_weights
from tests.benchmarks.method_tables import NAMES
from tests.tables import rows_between

DOCS = Path(__file__).parents[3] / "docs"


def test_the_games_are_what_they_say() -> None:
    found = example_games()
    assert list(found) == ["one step", "corridor", "lake", "hidden card", "repeated text"]
    assert found["corridor"].expected_return("player") == pytest.approx(0.8 * 0.7 * 0.6)
    assert found["one step"].expected_return("player") == pytest.approx(0.3 + 0.08 + 0.2)
    seen = 0.5 * 0.4 * (0.7 * 2 - 0.3) + 0.5 * 0.6 * (0.2 * 2 - 0.8)
    assert found["hidden card"].expected_return("player") == pytest.approx(seen)
    assert len({c.prompt_text for _, c in found["hidden card"].completions}) == 2
    doors = 0.2 * 0.4 * (1 + 0.5 + 0.25) + 0.5 * 0.3 * 1.0
    assert found["repeated text"].expected_return("player") == pytest.approx(doors)
    assert len({c.prompt_text for _, c in found["repeated text"].completions}) == 1
    assert {len(x.episode.steps) for x in found["lake"].trajectories} <= {1, 2}


@pytest.mark.parametrize("name", ["ms-grpo", "ms-grpo-corrected", "grpo", "dr-grpo", "rloo"])
def test_weights_of_starts_are_those_of_the_closed_form(name: str) -> None:
    """By all groups of one step here; by binomial sums there, which know constant weights alone."""
    config = attrs.evolve(method_config(name, group_size=4, kept=2), weighting="constant")
    expected = start_weights(Design.of(config), RATES)
    assert [start_weight(config, rate) for rate in RATES] == pytest.approx(list(expected))


def test_a_method_keeps_what_makes_it_and_takes_the_sizes() -> None:
    config = method_config("pods", group_size=6, kept=3)
    assert (config.group_size, config.kept_episodes, config.sampling) == (6, 3, "max_variance")


def test_a_method_that_compares_over_a_batch_is_drawn_in_batches() -> None:
    dist = example_games()["hidden card"]
    alone = analysed(dist, method_config("dr-grpo", group_size=4, kept=2))
    together = analysed(dist, method_config("lite-ppo", group_size=4, kept=2), samples=40)
    assert alone.exact and alone.batches > 1
    assert not together.exact and together.batches == 40
    assert together.generated_tokens == pytest.approx(8 * alone.generated_tokens)


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[str, ...]]]:
    return dict(tables(names=("dr-grpo", "rloo")))


def test_the_tables_have_a_row_for_each_method(found: dict[str, list[tuple[str, ...]]]) -> None:
    assert len(found) == 7
    cosines, bias, *_, weights, curricula = found.values()
    assert cosines[1:] == [(n, *["1.00"] * 5) for n in ("dr-grpo", "rloo")]
    assert bias[1:] == [("dr-grpo", *["0.25"] * 5), ("rloo", *["0.00"] * 5)]
    assert weights[1:] == [("dr-grpo", *["0.75"] * 5), ("rloo", *["1.00"] * 5)]
    assert [row[0] for row in curricula[1:]] == ["dr-grpo"] * 3 + ["rloo"] * 3
    figures = (
        row[2:] if rows is curricula else row[1:] for rows in found.values() for row in rows[1:]
    )
    assert all(math.isfinite(float(cell)) for row in figures for cell in row)


def test_the_page_shows_what_the_command_prints(
    found: dict[str, list[tuple[str, ...]]],
) -> None:
    """Two exact methods; those of drawn batches take minutes."""
    page = DOCS / "reference/methods_exact.md"
    for name, rows in zip(NAMES, found.values(), strict=True):
        head, *shown = rows_between(page, name)
        assert head == rows[0]
        assert set(rows[1:]) <= set(shown)
        if name != "curricula":
            assert [row[0] for row in shown] == list(PRESETS)


def test_a_game_or_all() -> None:
    for words in (["lab"], ["lab", "LineWalk-v0", "--all"]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2 and "a GAME or --all" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "length=2"),
        ("--horizon", "2"),
        ("--groups", "1"),  # also where it says the default
        ("--estimator", "std=none"),
        ("--policy-seed", "1"),
        ("--spread", "0"),
        ("--samples", "40"),
        ("--limit", "9"),
    ],
)
def test_all_refuses_what_it_would_not_heed(words: tuple[str, str]) -> None:
    result = CliRunner().invoke(main, ["lab", "--all", "--group-size", "6", *words])
    assert result.exit_code == 2
    assert f"Error: {words[0]} has no effect with --all" in " ".join(result.output.split())


@pytest.mark.parametrize("size", ["2", "5"])
def test_all_needs_groups_of_two_trees(size: str) -> None:
    result = CliRunner().invoke(main, ["lab", "--all", "--group-size", size])
    said = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "--group-size must be an even number" in said and "the method tree" in said


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere/x.png", "there is no folder"), ("x.abc", "must end in a kind of")]
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, place: str, said: str
) -> None:
    for words in (["--all"], ["LineWalk-v0"]):
        result = CliRunner().invoke(main, ["lab", *words, "--plot", str(tmp_path / place)])
        assert result.exit_code == 2 and said in " ".join(result.output.split())


def test_all_keeps_two_episodes_at_least() -> None:
    result = CliRunner().invoke(main, ["lab", "--all", "--kept", "1"])
    said = " ".join(result.output.split())
    assert result.exit_code == 2 and "--kept must be at least 2" in said and "pods" in said

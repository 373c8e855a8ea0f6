"""What is kept of experiments, and the tables that pages make of it."""

import json
from pathlib import Path

import attrs
import pytest

from tests.benchmarks import learning_table, social
from tests.benchmarks.results import KEPT, Result, keep, kept
from tests.run_folders import write_lines, write_run
from tests.tables import rows_between

DOCS = Path(__file__).parents[1] / "docs"


def finished(folder: Path, **changes: object) -> Path:
    """A run of 6 episodes an update, each of 2 replies of 3 tokens."""
    sizes = {"groups": 2, "group_size": 3}
    labels = {"scenario": "lake", "arm": "default"}
    return write_run(folder, described=labels, **{**sizes, **changes})  # type: ignore[arg-type]


def test_a_finished_run_becomes_a_line(tmp_path: Path) -> None:
    finished(tmp_path / "runs" / "one", seed=3)
    file = tmp_path / "results" / "some.jsonl"
    keep(file, tmp_path / "runs")
    (found,) = kept(file)
    assert found == Result(
        scenario="lake",
        arm="default",
        seed=3,
        updates=[0.0, 5.0, 10.0],
        tokens=[0.0, 180.0, 360.0],
        scores=[0.2, 0.5, 0.95],
        trained=3000.0,
        before={"return": 0.2, "invalid texts": 0.01},
        after={"return": 0.95, "invalid texts": 0.01},
    )


def test_further_runs_are_added_and_equal_names_replaced(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    finished(tmp_path / "first" / "one", seed=1)
    finished(tmp_path / "first" / "two", seed=0)
    keep(file, tmp_path / "first")
    finished(tmp_path / "second" / "one", seed=1, successes=(0.2, 0.5, 0.6))
    unfinished = finished(tmp_path / "second" / "two", seed=2)
    (unfinished / "metrics.jsonl").write_text("")
    keep(file, tmp_path / "second")
    assert [(result.seed, result.scores[-1]) for result in kept(file)] == [(0, 0.95), (1, 0.6)]


def test_scores_are_of_the_same_episodes_and_a_forfeit_is_no_success(tmp_path: Path) -> None:
    """Where a success is undefined in one evaluation, it has as many episodes as the others all the same."""
    file = finished(tmp_path / "runs" / "one") / "evaluations.jsonl"
    first, *others = map(json.loads, file.read_text().splitlines())
    first["successes"][0] = None
    for name in ("starts", "returns", "successes"):
        first[name] = [*first[name], *first[name][:2]]  # as many starts again, one more success
    first["starts"][-2:] = ["more 0", "more 1"]
    write_lines(file, [first, *others])
    keep(tmp_path / "some.jsonl", tmp_path / "runs")
    (found,) = kept(tmp_path / "some.jsonl")
    assert found.scores == [3 / 20, 0.5, 0.95]


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        finished(tmp_path / "runs" / name)
    with pytest.raises(ValueError, match="several runs of one scenario, arm and seed"):
        keep(tmp_path / "some.jsonl", tmp_path / "runs")


def test_methods_are_compared_at_the_tokens_of_the_cheapest_run(tmp_path: Path) -> None:
    finished(tmp_path / "runs" / "one")
    keep(tmp_path / "some.jsonl", tmp_path / "runs")
    (found,) = kept(tmp_path / "some.jsonl")
    dear = attrs.evolve(found, arm="dear", tokens=[0.0, 360.0, 720.0])
    head, first, second = learning_table.table(
        {
            "default": [found, attrs.evolve(found, seed=1)],
            "dear": [dear, attrs.evolve(dear, seed=1)],
        },
        against="default",
    )
    assert head[2] == "score at 0 k generated tokens"
    assert [first[0], first[2][:5], second[0], second[2][:5]] == [
        "`default`",
        "0.950",
        "`dear`",
        "0.500",
    ]
    assert second[3].startswith("**-0.450")
    assert first[5] == second[5] == "0.950"


def test_what_was_not_evaluated_within_the_budget_has_no_score(tmp_path: Path) -> None:
    """Between a clone and a first evaluation far behind the budget, no line says what was learnt."""
    finished(tmp_path / "runs" / "one")
    keep(tmp_path / "some.jsonl", tmp_path / "runs")
    (found,) = kept(tmp_path / "some.jsonl")
    late = [attrs.evolve(found, arm="late", tokens=[0.0, t, 9000.0]) for t in (300.0, 4000.0)]
    _, first, second = learning_table.table({"late": late, "one": [found]}, against="one")
    assert first[0] == "`one`" and second[0] == "`late`"
    assert second[2:4] == ("first evaluated at 0 to 4 k", "") and second[5] == "0.950"


def test_methods_are_compared_after_as_many_trained_tokens(tmp_path: Path) -> None:
    """Half as many: the other's score is that of its half; and none where a run was not evaluated by then."""
    finished(tmp_path / "runs" / "one")
    keep(tmp_path / "some.jsonl", tmp_path / "runs")
    (found,) = kept(tmp_path / "some.jsonl")
    runs = [attrs.evolve(found, seed=seed, scores=[0.2, 0.5 + seed / 10, 0.9]) for seed in (0, 1)]
    half = [attrs.evolve(run, arm="half", trained=run.trained / 2) for run in runs]
    tenth = [attrs.evolve(run, arm="tenth", trained=run.trained / 10) for run in runs]
    third = [attrs.evolve(one, seed=2) for one in (half[0], tenth[0])]
    arms = {"half": [*half, third[0]], "all": runs, "tenth": tenth, "partly": [*runs, third[1]]}
    rows = {row[0]: row for row in learning_table.table(arms, against="half")}
    assert rows["method"][4] == "minus `half` at equal trained tokens"
    assert rows["`all`"][4].startswith("-0.350 [")  # of 0.5 and 0.6 less 0.9 each
    assert rows["`half`"][4] == rows["`tenth`"][4] == rows["`partly`"][4] == ""


def test_the_page_of_methods_has_the_tables_that_are_made_of_what_was_kept() -> None:
    scenarios = learning_table.by_arm(kept(KEPT / "methods.jsonl"))
    assert set(scenarios) == {"lake", "lake-SmolLM2", "snake", "tic-tac-toe"}
    for name, arms in scenarios.items():
        table = learning_table.table(arms, against="ms-grpo")
        assert rows_between(DOCS / "reference/methods_trained.md", f"learning {name}") == table, (
            name
        )


def result(seed: int, before: dict[str, float], after: dict[str, float]) -> Result:
    return Result(
        scenario="public-goods",
        arm="self-play",
        seed=seed,
        updates=[0.0],
        tokens=[0.0],
        scores=[0.0],
        trained=0.0,
        before=before,
        after=after,
    )


def test_social_measures_are_compared_run_by_run() -> None:
    """Changes of -2 and -4: a mean of -3, and a standard error of 1, times Student's t of 12.706."""
    head, returns, peace = social.table(
        [
            result(0, {"return": 5.0, "peace": 1.0}, {"return": 3.0, "peace": 0.5}),
            result(1, {"return": 7.0}, {"return": 3.0, "peace": 0.5}),
        ]
    )
    assert head == ("game", "runs", "measure", "before", "after", "difference")
    change = "-3.000 [-15.706, 9.706]"
    assert returns == ("public-goods", "2", "return", "6.000", "3.000", change)
    assert peace == ("public-goods", "1", "peace", "1.000", "0.500", "-0.500")


def test_the_page_of_social_games_has_the_table_that_is_made_of_what_was_kept() -> None:
    table = social.table(kept(KEPT / "social.jsonl"))
    assert len(table) > 1
    assert rows_between(DOCS / "how_to/self_play.md", "social") == table

"""Reading run folders: whole, half-finished, corrupt and foreign ones; groups and comparisons of them."""

import csv
import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from algorithms.analysis.comparison import compare_runs, evaluated_episodes, generated_tokens
from algorithms.analysis.groups import group_runs
from algorithms.analysis.tables import markdown, tables
from algorithms.cli.main import main
from algorithms.errors import RunFolderError
from algorithms.runs.reader import episode_values, find_runs, read_run, read_runs
from tests.run_folders import episode, write_lines, write_run
from tsmg import InvalidArgumentError


def compare(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_a_whole_run_is_read_without_a_complaint(tmp_path):
    run = read_run(write_run(tmp_path / "run", episodes=(episode(),)))
    assert run.is_finished and run.problems == ()
    assert run.curve("eval/success_rate") == ([0.0, 5.0, 10.0], [0.2, 0.5, 0.95])
    assert run.curve("reward")[0] == list(range(1, 11)) and run.curve("kl") == ([], [])
    assert run.seconds == 20.0 and run.setting("sampling") == "aaw" and len(run.episodes) == 1


def test_checkpoints_are_no_runs(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
        checkpoint = tmp_path / "runs" / str(seed) / "checkpoints" / "update-000010"
        checkpoint.mkdir(parents=True)
        (checkpoint / "config.json").write_text("{}")
    assert find_runs(tmp_path) == [tmp_path / "runs" / "0", tmp_path / "runs" / "1"]
    with pytest.raises(RunFolderError, match=r"field 'spec\.algorithm' is missing"):
        read_run(checkpoint)


def broken_config(path, change):
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("spec"), "field 'spec' is missing"),
        (lambda c: c["spec"].pop("algorithm"), "field 'spec.algorithm' is missing"),
        (lambda c: c["spec"].update(run=[]), "field 'spec.run' is missing"),
        (lambda c: c["spec"]["algorithm"].update(updates="many"), "'spec.algorithm.updates' must"),
        (lambda c: c["spec"]["algorithm"].update(updates=True), "'spec.algorithm.updates' must be"),
        (lambda c: c["spec"]["game"].update(arguments=3), "field 'spec.game.arguments' must be"),
        (lambda c: c["spec"].update(labels=3), "field 'spec.labels' must be"),
        (lambda c: c.update(baselines=[1]), "field 'baselines' must be"),
        (lambda c: c.update(schema_version=3), "schema version 3"),
        (lambda c: c.update(schema_version="2"), "field 'schema_version' must be"),
    ],
)
def test_a_foreign_configuration_is_named(tmp_path, change, sentence):
    path = write_run(tmp_path / "run")
    broken_config(path, change)
    with pytest.raises(RunFolderError) as caught:
        read_run(path)
    assert sentence in str(caught.value) and str(path / "config.json") in str(caught.value)


def test_what_a_run_found_out_does_not_set_it_apart(tmp_path):
    for seed in (0, 1):
        found = {"cloning": {"divergence": 0.1 + seed}, "decoding": {"temperature": seed / 2}}
        write_run(tmp_path / str(seed), seed=seed, described={"arm": "large", **found})
    (group,) = group_runs(read_runs([tmp_path])[0])
    assert group.name == "large" and len(group.runs) == 2


def cut(path):
    """As a crash leaves it: the last evaluation is not there, and a line is half written."""
    file = path / "metrics.jsonl"
    kept = [r for r in map(json.loads, file.read_text().splitlines()) if r["update"] <= 7]
    write_lines(file, kept)
    with file.open("a") as out:
        out.write('{"update": 8.0, "rew')


def wrong_type(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[1] = json.dumps({"update": 5.0, "eval/success_rate": "high"})
    (path / "metrics.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("harm", "sentence", "counted"),
    [
        (cut, "metrics.jsonl', line", "2 of 3"),
        (cut, "ends at update 7 of 10: the run is not finished", "2 of 3"),
        (
            wrong_type,
            "line 2: field 'eval/success_rate' must be a number or null (got 'high')",
            "3",
        ),
        (lambda p: (p / "metrics.jsonl").unlink(), "metrics.jsonl' cannot be read", "2 of 3"),
        (lambda p: (p / "metrics.jsonl").write_text(""), "no evaluation yet", "2 of 3"),
        (
            lambda p: (p / "metrics.jsonl").write_text("[1]\n"),
            "line 1: not a JSON object; left out",
            "2 of 3",
        ),
        (
            lambda p: (p / "metrics.jsonl").write_bytes(b"\xff\xfe\n" * 3),
            "(and 2 more lines)",
            "2 of 3",
        ),
        (lambda p: (p / "metrics.jsonl").write_text("[" * 9999), "not JSON", "2 of 3"),
        (lambda p: write_lines(p / "evaluations.jsonl", [{"update": 0}]), "field 'returns'", "3"),
        (
            lambda p: write_lines(
                p / "evaluations.jsonl",
                [
                    {
                        **json.loads((p / "evaluations.jsonl").read_text().splitlines()[0]),
                        "metrics": {"regret": [1.0]},
                    }
                ],
            ),
            "field 'metrics' must have a number or null for each episode",
            "3",
        ),
        (
            lambda p: write_lines(p / "episodes.jsonl", [{"returns": {}, "steps": [3]}]),
            "'steps'",
            "3",
        ),
    ],
)
def test_what_is_half_finished_or_corrupt_is_told_and_the_rest_is_compared(
    tmp_path, harm, sentence, counted
):
    write_run(tmp_path / "good" / "0", seed=0)
    write_run(tmp_path / "good" / "1", seed=1, successes=(0.2, 0.6, 0.85))
    harm(write_run(tmp_path / "bad", seed=2))
    result = compare(tmp_path)
    assert result.exit_code == 0, result.output
    assert sentence in result.output and "bad" in result.output
    assert re.search(rf"^runs +{counted} *$", result.output, re.M)
    assert "Traceback" not in result.output


def test_unfinished_runs_are_marked_and_not_counted(tmp_path):
    write_run(tmp_path / "0", seed=0)
    cut(write_run(tmp_path / "1", seed=1, successes=(0.3, 0.4, 0.5)))
    result = compare(tmp_path)
    assert "1 of 2" in result.output and "1 of 2 runs are not finished" in result.output
    (summary,) = compare_runs(read_runs([tmp_path])[0]).summaries
    assert summary.start.value == 0.2 and summary.area.n == 1 and summary.final.value == 0.95


def test_curves_are_on_the_episodes_that_every_evaluation_played(tmp_path):
    """The ends have 20 episodes, the middle has the first 4 of them, in another order; of 0.2 these succeed."""
    path = write_run(tmp_path / "run", successes=(0.2, 0.5, 0.95))
    records = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    records[1] = {
        name: values if name == "update" else values[3::-1] for name, values in records[1].items()
    }
    write_lines(path / "evaluations.jsonl", records)
    run = read_run(path)
    assert run.curve("eval/success_rate")[1] == [0.2, 0.5, 0.95]
    assert run.curve_alike("eval/success_rate") == ([0, 5, 10], [1.0, 1.0, 1.0])
    assert run.curve_alike("eval/invalid_rate")[1] == [0.01] * 3
    (path / "evaluations.jsonl").unlink()
    assert read_run(path).curve_alike("eval/success_rate")[1] == [0.2, 0.5, 0.95]


def test_an_undefined_success_does_not_bring_in_other_episodes(tmp_path):
    """The last evaluation has a forfeit among the episodes that all have, and 20 successes that the others lack."""
    path = write_run(tmp_path / "run", successes=(0.2, 0.5, 0.5))
    *others, last = map(json.loads, (path / "evaluations.jsonl").read_text().splitlines())
    last["successes"][0] = None
    more = {
        "starts": [f"more {i}" for i in range(20)],
        "returns": [1.0] * 20,
        "successes": [True] * 20,
    }
    last |= {name: last[name] + values for name, values in more.items()}
    write_lines(path / "evaluations.jsonl", [*others, last])
    assert read_run(path).curve_alike("eval/success_rate")[1] == [0.2, 0.5, 9 / 19]


def test_an_interval_is_over_the_episodes_that_have_the_metric(tmp_path):
    """Of 20 episodes of the last evaluation, ten were forfeited."""
    path = write_run(tmp_path / "run", successes=(0.2, 0.5))
    *others, last = map(json.loads, (path / "evaluations.jsonl").read_text().splitlines())
    last["successes"] = [None] * 10 + [True] * 6 + [False] * 4
    write_lines(path / "evaluations.jsonl", [*others, last])
    run = read_run(path)
    assert evaluated_episodes(run, last["update"], "eval/success_rate") == 10
    assert evaluated_episodes(run, 0, "eval/success_rate") == 20


def test_a_metric_without_values_has_none_in_self_play_either():
    record = {
        "update": 0.0,
        "starts": ["a", "a"],
        "returns": [1.0, -1.0],
        "successes": [True, False],
    }
    for name in ("eval/invalid_rate", "eval/game/regret", "eval/reward"):
        assert episode_values(record, name) == {}


def test_tokens_are_counted(tmp_path):
    write_run(tmp_path / "run", groups=4, group_size=8)
    (summary,) = compare_runs(read_runs([tmp_path])[0]).summaries
    assert summary.trained.value == 10 * 300 / 1000
    assert summary.generated.value == pytest.approx(10 * 4 * 8 * 3 * 2 / 1000)


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    path = write_run(tmp_path / "runs" / "0")
    assert len(read_runs([tmp_path, path, tmp_path / "runs" / ".." / "runs"])[0]) == 1


def test_nothing_to_compare_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    result = compare(tmp_path / "empty", tmp_path / "nowhere")
    assert result.exit_code == 2 and "Traceback" not in result.output
    said = " ".join(result.output.split())
    assert "no run in" in said and "no folder at" in said


def test_runs_of_different_games_are_compared_apart(tmp_path):
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", game="Snake-v0")
    result = compare(tmp_path)
    assert "the runs play different games: FrozenLake-v0" in result.output
    assert "fields 'game.id' and 'game.arguments'" in result.output
    found = compare_runs(read_runs([tmp_path])[0])
    assert [s.group.scenario for s in found.summaries] == ["FrozenLake-v0", "Snake-v0"]
    assert found.pairs == ()


def two_arms(folder):
    for seed, end in enumerate((0.95, 0.9, 1.0)):
        write_run(folder / f"aaw{seed}", seed=seed, successes=(0.2, 0.9, end))
    for seed, end in enumerate((0.8, 0.9, 0.85)):
        path = folder / f"uniform{seed}"
        write_run(path, seed=seed, successes=(0.2, 0.5, end), sampling="uniform")
    return read_runs([folder])[0]


def test_groups_differ_in_more_than_the_seed(tmp_path):
    runs = two_arms(tmp_path)
    groups = group_runs(runs)
    assert [(g.name, len(g.runs)) for g in groups] == [("sampling=aaw", 3), ("sampling=uniform", 3)]
    assert [len(g.runs) for g in group_runs(runs, by="seed")] == [2, 2, 2]
    (aaw, _) = group_runs(runs, by="algorithm.sampling")
    assert aaw.name == "algorithm.sampling=aaw"
    with pytest.raises(InvalidArgumentError, match="no run has the field 'colour'"):
        group_runs(runs, by="colour")


def test_the_figures_of_a_comparison(tmp_path):
    """Against counts by hand; a success rate of r means that the first 20 r episodes succeed."""
    found = compare_runs(two_arms(tmp_path))
    ours, theirs = found.summaries
    assert ours.final.value == pytest.approx(0.95) and theirs.final.value == pytest.approx(0.85)
    assert ours.area.value == pytest.approx((0.55 + (0.9 + 0.95) / 2) / 2)
    assert ours.until.value == 5 and theirs.until.value == float("inf")
    assert ours.best == 2 and theirs.best == 1
    (pair,) = found.pairs
    assert pair.improvement.value == pytest.approx(8.5 / 9)
    assert pair.improvement_area.value == 1.0
    assert pair.difference.value == pytest.approx(0.1)
    assert pair.relative.value == pytest.approx(0.95 / 0.85 - 1)
    assert pair.paired.value == pytest.approx(0.1) and pair.paired.n == 20
    assert pair.paired.low > 0
    shown = "\n".join(map(markdown, tables(found)))
    assert "0.944 [0.778, 1.000]" in shown and "never" in shown


def test_every_evaluation_of_every_run_is_a_row(tmp_path):
    """Also of unfinished runs; tokens are those of the updates before."""
    two_arms(tmp_path)
    write_run(tmp_path / "all" / "9", sampling="all", seed=9, updates=20, groups=2, group_size=4)
    result = compare(tmp_path, "--csv", tmp_path / "numbers.csv")
    assert result.exit_code == 0, result.output
    with (tmp_path / "numbers.csv").open() as file:
        rows = list(csv.DictReader(file))
    runs = read_runs([tmp_path])[0]
    assert len(rows) == sum(len(run.evaluations) for run in runs)
    unfinished = [row for row in rows if row["seed"] == "9"]
    assert [row["finished"] for row in unfinished] == ["0", "0", "0"]
    assert [row["update"] for row in unfinished] == ["0", "5", "10"]
    assert [float(row["eval/success_rate"]) for row in unfinished] == [0.2, 0.5, 0.95]
    run = next(run for run in runs if run.seed == 9)
    per_update = [record["trained_tokens"] for record in run.updates]
    trained = [int(row["trained_tokens"]) for row in unfinished]
    assert trained == [0, sum(per_update[:5]), sum(per_update[:10])]
    played = 2 * 4 * 2.0 * 3.0  # tokens an update: episodes, steps of each, tokens of a reply
    assert [int(row["generated_tokens"]) for row in unfinished] == [0, 5 * played, 10 * played]
    recorded = [{**record, "generated_tokens": 7.0} for record in run.updates]
    assert generated_tokens(run, recorded) == 7.0 * len(recorded)
    assert compare(tmp_path, "--csv", tmp_path / "nowhere" / "numbers.csv").exit_code != 0


def test_a_part_of_nothing_is_not_told(tmp_path):
    """Where no episode of theirs ever succeeds."""
    write_run(tmp_path / "0", sampling="aaw")
    write_run(tmp_path / "1", sampling="all", successes=(0.0, 0.0, 0.0))
    (pair,) = compare_runs(read_runs([tmp_path])[0]).pairs
    assert pair.relative is None and pair.difference.value > 0


def test_pairs_need_the_same_initial_states(tmp_path):
    write_run(tmp_path / "0", sampling="aaw")
    write_run(tmp_path / "1", sampling="all", starts="others")
    assert compare_runs(read_runs([tmp_path])[0]).pairs[0].paired is None


def test_one_run_has_an_interval_over_its_episodes(tmp_path):
    write_run(tmp_path / "run")
    (summary,) = compare_runs(read_runs([tmp_path])[0]).summaries
    assert summary.final.method == "Wilson" and summary.final.n == 20
    assert summary.group.name == "all runs"


def test_without_success_the_return_is_compared(tmp_path):
    path = write_run(tmp_path / "run")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.update({name: None for name in line if "success" in name})
    write_lines(path / "metrics.jsonl", lines)
    (summary,) = compare_runs([read_run(path)]).summaries
    assert summary.measure == "reward" and summary.until is None
    assert summary.final.value == pytest.approx(0.95)


def test_comparing_does_not_wait_for_torch(tmp_path):
    write_run(tmp_path / "run")
    code = (
        "import sys; from click.testing import CliRunner; from algorithms.cli.main import main;"
        f"r = CliRunner().invoke(main, ['compare', {str(tmp_path)!r}]);"
        "assert r.exit_code == 0, r.output; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

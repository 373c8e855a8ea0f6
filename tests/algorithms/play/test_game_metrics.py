"""What a game measures of its episodes, from the game to the run folder and back."""

import json
from pathlib import Path
from typing import Any

import pytest

import games
from algorithms.analysis.report.content import report_content
from algorithms.cli.terminal import figures
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import evaluate, summarise
from algorithms.play.rollouts import fixed_starts
from algorithms.runs.reader import episode_values, read_runs
from algorithms.runs.writer import evaluation_record
from algorithms.training.metrics import evaluation_metrics, play_metrics, recorded_evaluation
from games.matrix import MatrixGame, regret
from tests.method_groups import role_group
from tests.run_folders import write_lines, write_run
from tsmg import AbstractWrappedExplicitGame, Episode, PlayerPolicy, UniformPlayer, with_horizon


@pytest.fixture(scope="module")
def dilemma() -> Any:
    return games.make("PrisonersDilemma-v0", rounds=3)


def test_an_evaluation_has_the_mean_of_each_figure(dilemma: MatrixGame) -> None:
    player = PlayerPolicy(dilemma, UniformPlayer(dilemma))
    found = evaluate(with_horizon(dilemma, 9), player, fixed_starts(dilemma, 5, seed=0))
    each = [regret(dilemma, e, agent) for agent in dilemma.agents for e in found.episodes[:5]]
    assert len(set(each)) > 1
    assert found.metrics == {"regret": pytest.approx(sum(each) / 10)}
    assert found.measured == {"regret": tuple(each)}


class Beginning(AbstractWrappedExplicitGame[Any, Any]):
    """Measures the episodes that begin well alone."""

    def metrics(self, episode: Episode[Any], agent: str) -> dict[str, float]:
        first = episode.rewards_T(agent)[0]
        return {"first": first} if first > 1 else {}


def test_what_is_not_defined_is_left_out_of_means(dilemma: MatrixGame) -> None:
    game = Beginning(dilemma)
    found = evaluate(game, PlayerPolicy(game, UniformPlayer(game)), fixed_starts(game, 9, seed=0))
    values = found.measured["first"]
    known = [v for v in values if v is not None]
    assert len(values) == 18 and {3.0, 5.0, None} == set(values)
    assert found.metrics["first"] == pytest.approx(sum(known) / len(known))


def test_commands_and_reports_tell_what_a_game_measures(
    dilemma: MatrixGame, tmp_path: Path
) -> None:
    player = PlayerPolicy(dilemma, UniformPlayer(dilemma))
    found = evaluate(dilemma, player, fixed_starts(dilemma, 3, seed=2))
    assert figures(found).endswith(f", regret {found.metrics['regret']:.3f}")
    path = write_run(tmp_path / "run")
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    measured = [
        {**line, "eval/game/regret": 0.5} if "eval/reward" in line else line for line in lines
    ]
    write_lines(path / "metrics.jsonl", measured)
    (panel,) = report_content(*read_runs([tmp_path])).panels
    titles = [chart.title for chart in panel.charts]
    assert titles.count("Evaluation, sampled: regret") == 1


def test_figures_come_back_from_what_is_written(dilemma: MatrixGame) -> None:
    player = PlayerPolicy(dilemma, UniformPlayer(dilemma))
    specs = fixed_starts(dilemma, 4, seed=1)
    found, nothing = evaluate(dilemma, player, specs), summarise([])
    metrics = evaluation_metrics(found, "eval")
    assert metrics["eval/game/regret"] == found.metrics["regret"]
    assert recorded_evaluation(metrics, "eval").metrics == found.metrics
    failed = {**metrics, "eval/failed_episodes": 3.0}
    assert recorded_evaluation(failed, "eval").failures == 3
    record = json.loads(json.dumps(evaluation_record(0, nothing, found)))
    assert record["metrics"] == {} and len(record["greedy_metrics"]["regret"]) == 8
    one_role = {**record, **{f"greedy_{k}": record[f"greedy_{k}"][:4] for k in ("starts",)}}
    one_role["greedy_metrics"] = {"regret": record["greedy_metrics"]["regret"][:4]}
    values = episode_values(one_role, "eval_greedy/game/regret")
    assert list(values.values()) == list(found.measured["regret"][:4])
    assert episode_values(one_role, "eval_greedy/game/equality") == {}
    assert baseline_figures(dilemma, specs)["uniform"]["game/regret"] == found.metrics["regret"]


def test_groups_without_variance_are_counted_by_their_returns() -> None:
    """Without a baseline such a group has advantages, and so a signal; equal returns are equal all the same."""
    groups = [role_group(paid, [[1.0]] * len(paid)) for paid in ([2, 2], [0, 0], [0, 1], [5, 5])]
    assert [group.has_signal for group in groups] == [True, False, True, True]
    metrics = play_metrics([], groups, [])
    assert metrics["frac_reward_zero_std"] == 0.75
    assert metrics["reward_std"] == 0.125
    assert play_metrics([], [], [])["frac_reward_zero_std"] is None

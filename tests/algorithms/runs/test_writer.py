"""What a run writes down for its readers: every evaluated episode, tokens with texts, figures to hold it against."""

import json
import math

import attrs
import pytest

from algorithms import RunConfig, RunSpec, run_training
from algorithms.analysis.comparison import compare_runs
from algorithms.play.baselines import baseline_figures
from algorithms.play.evaluation import evaluate
from algorithms.play.matchups import AlternatingRoles
from algorithms.play.rollouts import fixed_starts
from algorithms.runs.reader import read_run
from algorithms.runs.writer import evaluation_record, transcript
from algorithms.training.past_opponents import PastOpponents
from algorithms.training.spec import RunParts
from games import FrozenLake, KuhnPoker, TicTacToe
from lap import LanguageAgentPolicy, MemorylessPrompt
from tests.checkpoints import tiny_model
from tests.runs import SMALL_RUN
from tests.whole_runs import Teller
from tsmg import PlayerPolicy, UniformPlayer, split_starts

LAKE = FrozenLake()


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False), model=tiny_model(sharp=3.0)
    )
    result = run_training(
        RunSpec(
            algorithm=attrs.evolve(SMALL_RUN, updates=2, learning_rate=1e-3),
            run=RunConfig(final_episodes=6, evaluation_episodes=4, evaluate_every=1),
        ),
        tmp_path_factory.mktemp("runs") / "one",
        parts=RunParts(
            training_game=split_starts(LAKE, "train"),
            evaluation_game=split_starts(LAKE, "held_out"),
            policy=policy,
        ),
        reporter=Teller(),
    )
    return result.folder


def test_every_evaluated_episode_is_written_and_agrees_with_the_metrics(folder):
    records = lines(folder / "evaluations.jsonl")
    metrics = [m for m in lines(folder / "metrics.jsonl") if "eval/reward" in m]
    assert [len(r["returns"]) for r in records] == [6, 4, 6]
    for record, metric in zip(records, metrics, strict=True):
        assert record["update"] == metric["update"]
        for prefix, name in (("eval", ""), ("eval_greedy", "greedy_")):
            successes = record[f"{name}successes"]
            assert metric[f"{prefix}/success_rate"] == sum(successes) / len(successes)
            returns = record[f"{name}returns"]
            assert metric[f"{prefix}/reward"] == math.fsum(returns) / len(returns)
    assert records[0]["starts"] == records[2]["starts"]
    assert records[1]["starts"] == records[0]["starts"][:4]  # fewer of the same episodes
    assert len(set(records[0]["starts"])) == 6
    assert records[0]["starts"] == records[0]["greedy_starts"]


def test_the_folder_is_read_back_whole(folder):
    run = read_run(folder)
    assert run.problems == () and run.is_finished and len(run.per_episode) == 3
    (summary,) = compare_runs([run]).summaries
    assert summary.final.n == 6 and summary.final.method == "Wilson"


def test_a_transcript_holds_every_token_with_its_text(folder):
    told = lines(folder / "episodes.jsonl")
    assert {t["phase"] for t in told} == {"training", "evaluation"}
    for record in told:
        assert set(record["successes"]) == {"player"} and record["discount"] == 1.0
        for agent in (a for step in record["steps"] for a in step["agents"]):
            (completion,) = agent["completions"]
            assert len(completion["ids"]) == len(completion["logprobs"]) == len(completion["texts"])
            assert sum(completion["logprobs"]) == pytest.approx(agent["logprob"], abs=1e-3)
            if "\ufffd" not in agent["reply"] + "".join(completion["texts"]):
                assert "".join(completion["texts"]) == agent["reply"]


def test_tokens_of_others_are_told_by_their_ids_alone():
    policy = LanguageAgentPolicy(prompt=MemorylessPrompt(), model=tiny_model())
    (episode, *_) = evaluate(LAKE, policy, fixed_starts(LAKE, 1, seed=0)).episodes
    completion = transcript(episode)["steps"][0]["agents"][0]["completions"][0]
    assert completion["texts"] is None and completion["ids"]


def test_equal_starts_mean_the_same_episodes():
    player = PlayerPolicy(LAKE, UniformPlayer(LAKE))
    one, again, other = (
        evaluate(LAKE, player, fixed_starts(LAKE, 5, seed=seed)) for seed in (0, 0, 1)
    )
    assert (
        evaluation_record(0, one, again)["greedy_starts"]
        == (evaluation_record(0, one, again)["starts"])
    )
    assert (
        evaluation_record(0, one, other)["greedy_starts"]
        != (evaluation_record(0, one, other)["starts"])
    )


def test_the_configuration_says_what_a_result_is_held_against(folder):
    beside = json.loads((folder / "config.json").read_text())["baselines"]
    held_out = split_starts(LAKE, "held_out")
    assert beside == baseline_figures(held_out, fixed_starts(held_out, 6, seed=0))
    assert beside["optimum"] == pytest.approx(1.0)
    assert set(beside["uniform"]) == {"reward", "success_rate"}


@pytest.mark.slow
def test_references_are_the_optimum_and_the_players_own_results():
    specs = fixed_starts(LAKE, 300, seed=3)
    found = baseline_figures(LAKE, specs)
    scripted = evaluate(LAKE, PlayerPolicy(LAKE, LAKE.scripted_player()), specs)
    assert found["scripted"] == {
        "reward": scripted.reward,
        "success_rate": scripted.success_rate,
    }
    assert found["uniform"]["success_rate"] < found["scripted"]["success_rate"] < found["optimum"]


def test_games_of_several_agents_are_held_against_players_where_no_model_is_asked():
    game = TicTacToe()
    specs = fixed_starts(game, 40, seed=0)
    against = AlternatingRoles(PlayerPolicy(game, UniformPlayer(game)))
    found = baseline_figures(game, specs, matchups=against)
    assert found["optimum"] is None and found["scripted"]["reward"] > found["uniform"]["reward"]
    past = AlternatingRoles(
        PastOpponents(LanguageAgentPolicy(prompt=MemorylessPrompt(), model=tiny_model()))
    )
    unasked = baseline_figures(game, specs, matchups=past)
    assert unasked == {"optimum": None, "uniform": None, "scripted": None}
    poker = baseline_figures(KuhnPoker(), fixed_starts(KuhnPoker(), 4, seed=0))
    assert poker["scripted"] is None and poker["uniform"]["success_rate"] is None

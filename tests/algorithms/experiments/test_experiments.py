"""Experiments as files: every field is checked, every run is done once, and a stopped experiment goes on."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest
import torch
from click.testing import CliRunner

import games
import lap
from algorithms import CloningConfig
from algorithms.cli import main as cli
from algorithms.cloning import small
from algorithms.experiments import Job, jobs, read_experiment, run_jobs, scheduler, shipped, worker
from algorithms.experiments.scheduler import estimated_seconds, is_done
from algorithms.method.config import MSGRPOConfig
from algorithms.method.presets import PRESETS
from algorithms.runs.reader import read_run
from algorithms.training import run as training
from algorithms.training import run_loop
from algorithms.training.policy_spec import PolicySpec
from lap import LanguageAgentPolicy
from lap.models.small import make_tokenizer, small_network
from tests.run_folders import write_lines, write_run
from tsmg import InvalidArgumentError, TSMGError

SMOKE = shipped()["paper-smoke"]


def run(*arguments):
    return CliRunner().invoke(cli.main, ["experiment", *map(str, arguments)])


def check_equal_tokens(aaw, trained, generated):
    assert aaw.seed == trained.seed == generated.seed == 3
    assert aaw.kept_episodes == trained.group_size  # as many trained on
    assert aaw.group_size == generated.group_size  # as many played
    assert trained.sampling == generated.sampling == "all"
    assert aaw.updates == trained.updates == generated.updates


def test_ways_to_sample_are_compared_at_equal_trained_tokens():
    experiment = read_experiment(shipped()["sampling-laptop"])
    assert {arm.policy.model for arm in experiment.arms} == {"runs/real/clone"}
    aaw, uniform, full = (
        experiment.run_spec(job).algorithm for job in jobs(experiment)[: len(experiment.arms)]
    )
    assert [c.sampling for c in (aaw, uniform, full)] == ["aaw", "uniform", "all"]
    assert aaw == attrs.evolve(uniform, sampling="aaw", updates=2 * uniform.updates)
    trained = uniform.updates * uniform.groups * uniform.kept_episodes
    assert trained == full.updates * full.groups * full.group_size


def test_what_ships_is_sound_and_has_the_arms_of_the_comparison():
    papers = {f"paper-{s}" for s in ("laptop", "paper", "small", "smoke")}
    others = {"methods-laptop", "methods-small", "sampling-laptop", "social-laptop"}
    assert set(shipped()) == papers | others
    social = jobs(read_experiment(shipped()["social-laptop"]))
    played = [job.scenario.game.id for job in social]
    assert {id: played.count(id) for id in played} == dict.fromkeys(
        ("PublicGoods-v0", "SmallCleanup-v0", "Negotiation-v0", "Werewolf-v0"), 5
    )
    compared = {
        "aaw",
        "uniform",
        "full-equal-trained",
        "full-equal-generated",
        "untrained",
        "large",
    }
    for name in ("paper-laptop", "paper-small", "paper-paper"):
        experiment = read_experiment(shipped()[name])
        assert compared <= {arm.name for arm in experiment.arms}
        assert [s.trained_on for s in experiment.scenarios] == [None, None, "lake", "snake"]
        assert experiment.measures.primary == ("area", "until", "final")
        aaw, _, trained, generated, *_ = experiment.arms
        assert aaw.runs == 8 and experiment.run.evaluation_episodes == 50
        made = [
            Job(scenario=s, arm=a, seed=3)
            for s in experiment.scenarios
            for a in (aaw, trained, generated)
        ]
        configs = [experiment.run_spec(job).algorithm for job in made]
        for n in range(0, len(configs), 3):
            check_equal_tokens(*configs[n : n + 3])
    assert read_experiment(shipped()["paper-paper"]).algorithm["updates"] == 700


@pytest.mark.parametrize("name", ["methods-laptop", "methods-small"])
def test_methods_are_compared_from_equal_clones_on_as_many_episodes(name):
    experiment = read_experiment(shipped()[name])
    assert all(arm.name == arm.method.replace("+", "p") for arm in experiment.arms)
    for scenario in experiment.scenarios:
        made = [Job(scenario=scenario, arm=arm, seed=3) for arm in experiment.arms]
        specs = [experiment.run_spec(job) for job in made]
        assert all(job.clone == made[0].clone for job in made)
        assert all(spec.policy == specs[0].policy for spec in specs)
        assert {spec.opponent for spec in specs} == {scenario.opponent}
        shared = ("updates", "groups", "group_size", "learning_rate", "kl_coefficient")
        assert len({tuple(getattr(s.algorithm, one) for one in shared) for s in specs}) == 1
        for arm, spec in zip(experiment.arms, specs, strict=True):
            for setting, value in PRESETS[arm.method].fixed.items():
                assert getattr(spec.algorithm, setting) == value


def test_every_method_is_an_arm_but_hiper_whose_replies_need_a_checkpoint():
    experiment = read_experiment(shipped()["methods-laptop"])
    assert {arm.method for arm in experiment.arms} == set(PRESETS) - {"hiper"}


def test_the_large_model_has_24_times_the_parameters():
    def parameters(cloning):
        tokenizer = make_tokenizer(["P F F F", "<action>left</action>"], cloning.vocabulary)
        names = ("width", "layers", "heads", "inner", "context")
        with torch.device("meta"):
            network = small_network(tokenizer, **{name: getattr(cloning, name) for name in names})
        return sum(p.numel() for p in network.parameters())

    arms = {arm.name: arm for arm in read_experiment(shipped()["paper-laptop"]).arms}
    large = arms["large"].policy.cloning
    assert parameters(large) / parameters(CloningConfig()) == pytest.approx(24, abs=0.3)
    assert arms["large-trained"].policy.cloning == large
    longer = attrs.evolve(large, steps=800)  # a distribution that is harder to learn
    assert arms["large-optimal"].policy.cloning == longer


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('title = "AAW', 'titel = "AAW', "unknown key 'titel' in the top level"),
        ("threshold = 0.9\n", "", "key 'threshold' is missing in section 'measures'"),
        ("threshold = 0.9", 'threshold = "high"', "'measures.threshold' must be of type float"),
        ("threshold = 0.9", "threshold = nan", "in section 'measures', 'threshold' must be finite"),
        ('checkpoint = "final"', 'checkpoint = "best"', "'checkpoint' must be one of final"),
        ('"until", "final"]', '"best"]', "'primary' must contain only names among area"),
        ("updates = 2", "updates = 0", "in section 'algorithm', 'updates' must be at least 1"),
        ("updates = 2", "updates = 2.5", "'algorithm.updates' must be of type int"),
        ("updates = 2", "upd = 2", "unknown key 'upd' in section 'algorithm'; the nearest"),
        ("updates = 2", "updates = 2\nseed = 1", "'algorithm.seed' comes from 'runs'"),
        ("final_episodes = 4", "final_episodes = 0", "in section 'run', 'final_episodes'"),
        ("game.horizon", "game.horizont", "unknown key 'horizont' in section 'scenarios[0].game'"),
        (
            "game.horizon = 6",
            "game.horizon = 6\nalgorithm = { groups = 0 }",
            "in section 'scenarios[0].algorithm', 'groups' must be at least 1",
        ),
        ("horizon = 6", "horizon = true", "'scenarios[0].game.horizon' must be of type int"),
        ('sampling = "uniform"', 'sampling = "best"', "in section 'arms[1].algorithm', 'sampling'"),
        ("runs = 2", "runs = 0", "in section 'arms[0]', 'runs' must be at least 1"),
        (
            "runs = 2",
            'runs = 2\nmethod = "gippo"',
            "in section 'arms[0]', 'method' must be one of ms-grpo, ",
        ),
        (
            'algorithm = { sampling = "uniform" }',
            'method = "grpo"\nalgorithm = { sampling = "uniform" }',
            "the method 'grpo' is not 'grpo' with 'sampling' 'uniform'",
        ),
        (
            "game.horizon = 6",
            'opponent = "uniform"\ngame.horizon = 6',
            "'scenarios.lake.opponent' is possible only where every arm trains (the arm 'optimal-clone'",
        ),
        ("runs = 2", "runs = 10001", "in section 'arms[0]', 'runs' must be at least 1"),
        ('name = "uniform"', 'name = "aaw"', "'arms' must be at least one table [[arms]], with"),
        ('name = "uniform"', 'name = "../up"', "'name' must consist of letters"),
        ('player = "optimal"', 'player = "lucky"', "in section 'arms[2].policy', 'player' must be"),
        ("width = 16", "breadth = 16", "unknown key 'breadth' in section 'arms[0].policy.cloning'"),
        ("width = 16", "seed = 3", "'arms.aaw.policy.cloning.seed' comes from 'runs'"),
        ('"arms.aaw.runs"', '"arms.aaw.runes"', "'ours' names no setting of this file"),
        ('= ["lake"]', '= ["sea"]', "'arms.optimal-clone.scenarios' names no scenario"),
        ('= ["lake"]', '= "lake"', "'arms[2].scenarios' must be a list"),
        (
            '= ["lake"]',
            '= ["slippery-lake"]',
            "'arms.optimal-clone.scenarios' names 'slippery-lake', which",
        ),
        (
            'trained_on = "lake"',
            'trained_on = "sea"',
            "'scenarios.slippery-lake.trained_on' must name a",
        ),
        (
            'trained_on = "lake"',
            'trained_on = "slippery-lake"',
            "'scenarios.slippery-lake.trained_on'",
        ),
        (
            'trained_on = "lake"',
            'trained_on = "lake"\nalgorithm = { groups = 1 }',
            "'scenarios.slippery-lake.algorithm' has no effect",
        ),
        ("[[arms]]", "[[arm]]", "unknown key 'arm' in the top level; the nearest known one is"),
        ("decoding = [0.0", "decoding = [-1.0", "'decoding' must be finite and at least 0"),
        ('title = "AAW', 'source = "x"\ntitle = "AAW', "unknown key 'source'"),
        ("[cost]", "[cost", "cannot be read"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, old, new, sentence):
    text = SMOKE.read_text()
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidArgumentError) as caught:
        read_experiment(file)
    assert sentence in str(caught.value) and str(file) in str(caught.value)


def test_runs_come_seed_by_seed():
    experiment = read_experiment(SMOKE)
    places = [str(job.place) for job in jobs(experiment)]
    assert places == [
        "lake/aaw/0", "lake/uniform/0", "lake/optimal-clone/0",
        "slippery-lake/aaw/0", "slippery-lake/uniform/0",
        "lake/aaw/1", "lake/uniform/1", "slippery-lake/aaw/1", "slippery-lake/uniform/1",
    ]  # fmt: skip
    assert [str(job.place) for job in jobs(experiment, ["uniform"])] == [
        "lake/uniform/0", "slippery-lake/uniform/0", "lake/uniform/1", "slippery-lake/uniform/1",
    ]  # fmt: skip
    with pytest.raises(InvalidArgumentError, match="no arm is called 'best'"):
        jobs(experiment, ["best"])
    laptop = jobs(read_experiment(shipped()["paper-laptop"]))
    assert {j.scenario.name for j in laptop if j.arm.name == "large-trained"} == {"lake"}


def fake_processes(monkeypatch, failing=(), before=lambda place, started: None):
    """Instead of training, a written run; returns the places in the order in which they were run."""
    started = []

    def start(command, *, stdout, env, **_):
        *_, place, folder = command
        started.append(place)
        before(place, started)
        assert env["OMP_NUM_THREADS"] == "1"
        if place in failing:
            Path(folder).mkdir(parents=True)
            stdout.write("Traceback\nValueError: the lake is frozen over\n")
            return subprocess.CompletedProcess(command, 1)
        shutil.rmtree(folder, ignore_errors=True)
        scenario, arm, seed = place.split("/")
        write_run(Path(folder), seed=int(seed), described={"scenario": scenario, "arm": arm})
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(scheduler.subprocess, "run", start)
    return started


def test_what_is_done_is_not_repeated_and_a_failure_keeps_nothing_back(tmp_path, monkeypatch):
    experiment = read_experiment(SMOKE)
    started = fake_processes(monkeypatch, failing=("lake/uniform/0",))
    ended = run_jobs(experiment, jobs(experiment), tmp_path, parallel=2)
    failed = [done for done in ended if done.error]
    assert len(ended) == 9 and len(started) == 8 and len(failed) == 2
    causes = {str(done.job.place): done.error for done in failed}
    assert "ValueError: the lake is frozen over (exit code 1;" in causes["lake/uniform/0"]
    assert "logs/lake-uniform-0.txt" in causes["lake/uniform/0"]
    assert (
        "lake/uniform/0' is not finished, and this run needs its policy"
        in causes["slippery-lake/uniform/0"]
    )
    assert started.index("lake/aaw/1") < started.index("slippery-lake/aaw/1")
    assert is_done(tmp_path / "lake/aaw/1") and not (tmp_path / "lake/uniform/0").exists()
    again = fake_processes(monkeypatch)
    run_jobs(experiment, jobs(experiment), tmp_path)
    assert again == ["lake/uniform/0", "slippery-lake/uniform/0"]  # over the rest of what failed
    assert not list(tmp_path.rglob("*.part"))
    (tmp_path / "lake/aaw/1/metrics.jsonl").write_text("")
    (done,) = run_jobs(experiment, jobs(experiment), tmp_path)
    assert "move it away" in done.error and is_done(tmp_path / "lake/aaw/0")


def test_what_waits_for_a_run_keeps_no_place(tmp_path, monkeypatch):
    last = "slippery-lake/uniform/0"
    all_else, seen = threading.Event(), []

    def before(place, started):
        if place == last:
            all_else.set()
        if place == "lake/aaw/0":  # as long as anything else can be done
            seen.append((all_else.wait(10), list(started)))

    experiment = read_experiment(SMOKE)
    started = fake_processes(monkeypatch, before=before)
    ended = run_jobs(experiment, jobs(experiment), tmp_path, parallel=2)
    ((in_time, meanwhile),) = seen
    assert in_time and len(meanwhile) == 8 and not any(done.error for done in ended)
    assert started[8:] == ["slippery-lake/aaw/0"]


def test_runs_of_one_clone_are_begun_one_after_the_other(tmp_path, monkeypatch):
    """Each would make it otherwise."""
    both = threading.Barrier(2, timeout=10)

    def before(place, started):
        if len(started) <= 2:  # so that the first two are side by side
            both.wait()

    experiment = read_experiment(SMOKE)
    clones = {str(job.place): job.clone for job in jobs(experiment)}
    assert clones["lake/aaw/0"] == clones["lake/uniform/0"] != clones["lake/aaw/1"]
    assert clones["slippery-lake/aaw/0"] is None
    started = fake_processes(monkeypatch, before=before)
    run_jobs(experiment, jobs(experiment), tmp_path, parallel=2)
    assert {*started[:2]} == {"lake/aaw/0", "lake/optimal-clone/0"}
    run_jobs(experiment, jobs(experiment, ["aaw", "uniform"])[:2], tmp_path / "two", parallel=2)
    assert {*started[-2:]} == {"lake/aaw/0", "lake/uniform/0"}  # where there is nothing else


def test_the_command_runs_reports_and_says_what_failed(tmp_path, monkeypatch):
    fake_processes(monkeypatch, failing=("lake/uniform/1",))
    result = run("paper", "--scale", "smoke", "--output", tmp_path, "--parallel", "2")
    assert result.exit_code == 1, result.output
    assert "failed: ValueError" in result.output and (tmp_path / "report.html").is_file()
    fake_processes(monkeypatch)
    result = run("paper", "--scale", "smoke", "--output", tmp_path)
    assert result.exit_code == 0 and "1 of 2: lake/uniform/1 done" in result.output
    told = (tmp_path / "report.md").read_text()
    assert "| group | runs |" in told
    order = ("lake, aaw against", "**lake, aaw**", "**lake, uniform**", "**lake, optimal-clone**")
    assert sorted(map(told.index, order)) == [told.index(part) for part in order]


def test_an_experiment_of_failures_alone_has_the_exit_code_of_failures(tmp_path, monkeypatch):
    experiment = read_experiment(SMOKE)
    fake_processes(monkeypatch, failing=[str(job.place) for job in jobs(experiment)])
    result = run("paper", "--scale", "smoke", "--output", tmp_path)
    assert result.exit_code == 1 and "failed: ValueError" in result.output


def test_an_evaluated_arm_draws_as_a_trained_one(monkeypatch):
    drawn = []
    monkeypatch.setattr(worker, "evaluate", lambda game, policy, *_, **__: drawn.append(policy))
    policy = lap.LanguageAgentPolicy(
        model=lap.TabularModel(("left", "right")), parser=lap.WholeReplyParser()
    )
    config = MSGRPOConfig(top_p=0.9, max_reply_tokens=1)
    worker._evaluation(games.make("LineWalk-v0"), policy, False, config, 0.5, 2, 0)
    (sampling,) = [policy.sampling for policy in drawn]
    assert (sampling.top_p, sampling.temperature, sampling.max_reply_tokens) == (0.9, 0.5, 1)


def test_a_dry_run_runs_nothing_and_uses_measured_durations(tmp_path):
    result = run("paper", "--scale", "smoke", "--output", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0 and not (tmp_path / "out").exists()
    assert "in part by the figures in the file" in " ".join(result.output.split())
    experiment = read_experiment(SMOKE)
    by_place = {str(job.place): job for job in jobs(experiment)}
    aaw, second = by_place["lake/aaw/0"], by_place["lake/aaw/1"]
    clone, moved = by_place["lake/optimal-clone/0"], by_place["slippery-lake/aaw/0"]
    episodes = 2 * (2 * 4 + 1 * 2)  # sampled and greedy; both ends, once between
    assert estimated_seconds(experiment, aaw, tmp_path) == (
        pytest.approx(0.01 * episodes + 2 * 0.1), False,
    )  # fmt: skip
    assert estimated_seconds(experiment, clone, tmp_path)[0] == pytest.approx(0.01 * (8 + 2 * 2))
    assert estimated_seconds(experiment, moved, tmp_path)[0] == pytest.approx(0.01 * 2 * 4)
    begun = write_run(tmp_path / aaw.place.with_suffix(".part"))  # 2 s an update
    records = [json.loads(line) for line in (begun / "metrics.jsonl").read_text().splitlines()]
    write_lines(begun / "metrics.jsonl", [r for r in records if r["update"] < 5])
    assert not estimated_seconds(experiment, second, tmp_path)[1]
    write_run(tmp_path / aaw.place)
    assert estimated_seconds(experiment, second, tmp_path) == (
        pytest.approx(0.01 * episodes + 2 * 2.0), True,
    )  # fmt: skip


def test_bad_names_are_one_sentence():
    for arguments, sentence in (
        (("paper", "--scale", "huge"), "no experiment 'paper' of scale 'huge' ships"),
        (("nowhere.toml",), "cannot be read"),
        (("paper", "--scale", "smoke", "--only", "best", "--dry-run"), "no arm is called 'best'"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and sentence in " ".join(result.output.split())
        assert "Traceback" not in result.output


def test_a_missing_checkpoint_is_one_sentence_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--dry-run"]):
        result = run("methods", "--scale", "small", *words)
        assert result.exit_code == 2 and "runs/real/clone" in " ".join(result.output.split())
        assert not (tmp_path / "runs").exists()


def test_a_dry_run_does_not_wait_for_torch():
    code = (
        "import sys; from click.testing import CliRunner; from algorithms.cli.main import main;"
        "r = CliRunner().invoke(main, ['experiment', 'paper', '--dry-run']);"
        "assert r.exit_code == 0, r.output; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---- one run


def do(place, folder, root="nowhere"):
    worker.main(str(SMOKE), str(root), place, str(folder))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSMG_CACHE", str(tmp_path / "cache"))


def test_a_trained_run_says_which_it_is(tmp_path, cache):
    do("lake/uniform/1", tmp_path / "run")
    found = read_run(tmp_path / "run")
    assert found.is_finished and found.problems == ()
    assert found.label("arm") == "uniform" and found.label("scenario") == "lake"
    assert found.seed == 1 and found.setting("sampling") == "uniform"
    with pytest.raises(InvalidArgumentError, match="has no run"):
        do("lake/uniform/2", tmp_path / "other")


def test_training_that_was_stopped_goes_on(tmp_path, cache, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    do("lake/aaw/0", whole)

    def cut(*_, **__):
        raise KeyboardInterrupt

    (stopped / "start").mkdir(parents=True)  # killed before its start was whole: begins anew
    with monkeypatch.context() as patched:
        patched.setattr(training, "plot_run", cut)
        patched.setattr(run_loop, "remove_old_checkpoints", cut)
        with pytest.raises(KeyboardInterrupt):
            do("lake/aaw/0", stopped)
    with monkeypatch.context() as patched:
        patched.setattr(small, "cloned_model", cut)  # nothing is cloned again
        do("lake/aaw/0", stopped)
    for name in ("metrics.jsonl", "evaluations.jsonl", "episodes.jsonl", "config.json"):
        assert (stopped / name).read_text() == (whole / name).read_text()


@pytest.mark.slow
def test_a_policy_is_evaluated_where_it_was_not_trained(tmp_path, cache, monkeypatch):
    for place in ("lake/aaw/0", "lake/optimal-clone/0"):
        do(place, tmp_path / place)
    saved, taken = LanguageAgentPolicy.from_pretrained, []
    monkeypatch.setattr(PolicySpec, "build", None)  # no policy is made
    monkeypatch.setattr(
        worker.lap.LanguageAgentPolicy,
        "from_pretrained",
        lambda folder: taken.append(folder) or saved(folder),
    )
    do("slippery-lake/aaw/0", tmp_path / "slippery-lake/aaw/0", tmp_path)
    found = read_run(tmp_path / "slippery-lake/aaw/0")
    assert found.is_finished and found.planned_updates == 0 and found.problems == ()
    assert found.label("trained_on") == "lake" and found.label("scenario") == "slippery-lake"
    experiment = read_experiment(SMOKE)
    clone = jobs(experiment, ["optimal-clone"])[0]
    worker.final_policy(experiment, clone, tmp_path / clone.place)
    assert taken == [
        tmp_path / "lake/aaw/0/checkpoints/update-000002", tmp_path / "lake/optimal-clone/0/start",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_untrained_run_chooses_its_decoding_on_other_episodes(tmp_path, cache, monkeypatch):
    seeds = []
    starts = worker.fixed_starts
    monkeypatch.setattr(
        worker,
        "fixed_starts",
        lambda game, n, seed: seeds.append((n, seed)) or starts(game, n, seed=seed),
    )
    do("lake/optimal-clone/0", tmp_path / "run")
    assert seeds == [(2, 1), (2, 1), (4, 0), (4, 0), (4, 0)]
    found = read_run(tmp_path / "run")
    assert found.is_finished and found.planned_updates == 0 and found.problems == ()
    tried = found.config["decoding"]["tried"]
    assert set(tried) == {"0.0", "1.0"}
    assert found.config["decoding"]["temperature"] == float(max(tried, key=tried.get))


@pytest.mark.parametrize("best", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_the_best_decoding_is_chosen(tmp_path, cache, monkeypatch, best):
    real = worker.evaluate

    def graded(game, player, plans, **options):
        reward = 1 - abs(player.sampling.temperature - best)
        return attrs.evolve(real(game, player, plans, **options), reward=reward)

    monkeypatch.setattr(worker, "evaluate", graded)
    do("lake/optimal-clone/0", tmp_path / "run")
    decoding = read_run(tmp_path / "run").config["decoding"]
    assert decoding == {"temperature": best, "tried": {"0.0": 1 - best, "1.0": best}}


def test_the_optimal_clone_is_cloned_from_the_optimal_player():
    experiment = read_experiment(SMOKE)
    job = jobs(experiment, ["optimal-clone"])[0]
    training, evaluation = experiment.run_spec(job).games()
    assert type(training.scripted_player()).__name__ == "OptimalPlayer"
    assert type(evaluation.scripted_player()).__name__ == "MyopicPlayer"
    sharper = PolicySpec(player_arguments={"attention": 1.0})
    training, _ = experiment.run_spec(with_policy(job, sharper)).games()
    assert training.scripted_player().attention == 1.0
    wrong = PolicySpec(player_arguments={"courage": 1.0})
    with pytest.raises(TSMGError, match="'player_arguments'"):
        experiment.run_spec(with_policy(job, wrong)).games()


def with_policy(job, policy):
    return attrs.evolve(job, arm=attrs.evolve(job.arm, policy=policy))


@pytest.mark.slow
def test_a_whole_experiment_in_processes_of_its_own(tmp_path, cache):
    result = run("paper", "--scale", "smoke", "--output", tmp_path / "out", "--only", "aaw")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "out" / "lake" / "aaw" / "1" / "config.json").read_text())
    assert config["spec"]["algorithm"]["seed"] == 1

"""A whole cloning: when it ends, what it keeps, and that it goes on bit for bit after being killed."""

import json

import attrs
import pytest

from algorithms.cloning import run as cloning_run
from algorithms.cloning.config import FitConfig
from algorithms.cloning.demonstrations import Demonstration
from algorithms.cloning.run import (
    Cloning,
    Measurement,
    Shown,
    SilentCloning,
    best_of,
    has_converged,
)
from algorithms.errors import RunFolderError
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Sampling,
    TagParser,
    TransformersModel,
)
from tests.algorithms.cloning.test_fit import SHOWN, prompt
from tests.checkpoints import tiny_model

CONFIG = FitConfig(
    steps=6, batch=2, learning_rate=1e-2, measure_every=2, measured_prompts=2, seed=1
)


def a_cloning(folder, *, config=CONFIG, described=None, model=None):
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        parser=TagParser(),
        model=model or tiny_model(),
        sampling=Sampling(max_reply_tokens=4),
    )
    folder.mkdir(exist_ok=True)
    return Cloning(
        policy,
        Shown.of(SHOWN[:2], SHOWN[2:], count=2),
        config,
        folder,
        described=described or {"a": "test"},
        reporter=SilentCloning(),
    )


def policy_files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_cloning_leaves_a_policy_and_its_record(tmp_path):
    result = a_cloning(tmp_path / "c").run()
    assert [m.step for m in result.measurements] == [0, 2, 4, 6] and not result.converged
    lines = [json.loads(line) for line in (tmp_path / "c" / "clone.jsonl").read_text().splitlines()]
    assert lines[1:] == [attrs.asdict(m) for m in result.measurements[1:]]
    assert lines[0]["loss"] is None
    loaded = LanguageAgentPolicy.from_pretrained(tmp_path / "c")
    assert loaded.parser == TagParser()
    assert {f.name for f in (tmp_path / "c").iterdir() if f.is_dir()} == set()


def test_cloned_adapters_are_moved_together_with_their_base(tmp_path):
    project = tmp_path / "project"
    tiny_model().save_pretrained(project / "models" / "base")
    base = TransformersModel.from_pretrained(project / "models" / "base")
    a_cloning(project / "cloned", model=base.with_lora(LoraSettings(r=2))).run()
    project.rename(tmp_path / "elsewhere")
    model = LanguageAgentPolicy.from_pretrained(tmp_path / "elsewhere" / "cloned").model
    assert model.has_adapters and model.base.name == str(tmp_path / "elsewhere" / "models" / "base")


@pytest.mark.parametrize("killed_at", ["measurement", "checkpoint", "best"])
def test_a_killed_cloning_goes_on_bit_for_bit(tmp_path, monkeypatch, killed_at):
    a_cloning(tmp_path / "whole").run()
    cloning = a_cloning(tmp_path / "killed")

    def killed(*_):
        raise KeyboardInterrupt

    step = cloning.fit.step

    def until_the_fourth():
        if cloning.fit.done == 3:
            if killed_at == "checkpoint":
                monkeypatch.setattr(Cloning, "_write_checkpoint", killed)
            if killed_at == "best":
                monkeypatch.setattr(cloning_run, "best_of", killed)
            if killed_at == "measurement":
                monkeypatch.setattr(Cloning, "_measure", killed)
        return step()

    cloning.fit.step = until_the_fourth
    with pytest.raises(KeyboardInterrupt):
        cloning.run()
    monkeypatch.undo()
    assert not (tmp_path / "killed" / "policy.json").exists()
    again = a_cloning(tmp_path / "killed", model=tiny_model(seed=5))
    assert again.fit.done == 2
    again.run()
    assert policy_files(tmp_path / "killed") == policy_files(tmp_path / "whole")


def test_a_stopped_cloning_has_a_checkpoint_of_its_last_step(tmp_path):
    a_cloning(tmp_path / "whole").run()
    cloning = a_cloning(tmp_path / "stopped")
    assert cloning.run(lambda: 2 if cloning.fit.done == 3 else None) is None
    again = a_cloning(tmp_path / "stopped", model=tiny_model(seed=5))
    assert (again.fit.done, len(again.losses)) == (3, 1)
    again.run()
    assert policy_files(tmp_path / "stopped") == policy_files(tmp_path / "whole")


def test_another_cloning_in_the_folder_is_refused(tmp_path):
    a_cloning(tmp_path / "c")
    with pytest.raises(RunFolderError, match="other settings"):
        a_cloning(tmp_path / "c", described={"another": "test"})
    a_cloning(tmp_path / "c", described={"a": "test", "versions": {"torch": "another"}})


def measured(*divergences):
    return [
        Measurement(step=n, loss=0.0, divergence=d, invalid_rate=0.0)
        for n, d in enumerate(divergences)
    ]


def test_the_best_policy_is_kept_and_not_the_last(tmp_path, monkeypatch):
    found = iter([9.0, 3.0, 2.0, 4.0])
    monkeypatch.setattr("algorithms.cloning.fit.Fit.divergence", lambda self, shown: next(found))
    a = a_cloning(tmp_path / "a").run()
    assert (a.kept.step, a.kept.divergence) == (4, 2.0)
    found = iter([9.0, 3.0, 2.0])
    shorter = a_cloning(tmp_path / "b")
    shorter.run(lambda: 2 if shorter.fit.done == 4 else None)
    assert weights(tmp_path / "a") == (tmp_path / "b" / "best" / "model.safetensors").read_bytes()
    assert best_of(measured(0.1)) is None  # what nothing was fitted to is not kept
    assert best_of(measured(9.0, float("nan"), 2.0)).step == 2


def test_it_stops_once_it_has_converged(tmp_path, monkeypatch):
    monkeypatch.setattr("algorithms.cloning.fit.Fit.divergence", lambda self, shown: 1.0)
    result = a_cloning(tmp_path / "c", config=attrs.evolve(CONFIG, patience=2)).run()
    assert result.converged and result.measurements[-1].step == 4


def test_without_a_number_there_is_no_best_policy(tmp_path, monkeypatch):
    monkeypatch.setattr("algorithms.cloning.fit.Fit.divergence", lambda self, shown: float("nan"))
    cloning = a_cloning(tmp_path / "d", config=attrs.evolve(CONFIG, patience=1))
    with pytest.raises(RunFolderError, match="no divergence was a number"):
        cloning.run()


def test_a_record_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "e" / cloning_run.MEASURED).mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"cannot write '.*clone\.jsonl'"):
        a_cloning(tmp_path / "e")


@pytest.mark.parametrize(
    ("divergences", "is_over"),
    [
        ((5.0, 4.0, 3.0), False),
        ((5.0, 4.0, 3.95, 3.91), True),  # two small steps down from 4 are none
        ((5.0, 4.0, 3.95, 3.85), False),  # together they are one
        ((5.0, 4.0, 4.5, 3.0, 3.1), False),
        ((5.0, float("nan"), float("nan")), True),
        ((), False),
    ],
)
def test_when_a_cloning_has_converged(divergences, is_over):
    assert has_converged(measured(*divergences), patience=2, min_improvement=0.1) is is_over


def test_what_is_measured_is_never_fitted_unless_nothing_else_is_there():
    shown = Shown.of(SHOWN[:2], SHOWN, count=10)
    assert shown.is_held_out and shown.measured == (SHOWN[2],)
    shown = Shown.of(SHOWN, SHOWN, count=2)
    assert not shown.is_held_out and len(shown.measured) == 2


def test_the_invalid_rate_counts_what_the_game_does_not_read(tmp_path):
    """The replies of a model that says ``<action>down</action>`` alone, at a prompt where that is illegal."""
    cloning = a_cloning(tmp_path / "c")
    only = Demonstration(prompt=prompt("P"), reply_dist=(("<action>down</action>", 1.0),))
    cloning.policy = attrs.evolve(cloning.policy, model=_Says("<action>down</action>"))
    cloning.shown = attrs.evolve(
        cloning.shown,
        measured=(
            attrs.evolve(only, is_legal=lambda text: text == "down"),
            attrs.evolve(only, is_legal=lambda text: False),
            only,
        ),
    )
    assert cloning._invalid_rate() == pytest.approx(1 / 3)
    cloning.policy = attrs.evolve(cloning.policy, model=_Says("hm"))
    assert cloning._invalid_rate() == 1.0


class _Says:
    def __init__(self, reply):
        from lap import ScriptedModel

        self._model = ScriptedModel(lambda _: reply)

    def sample(self, *arguments, **settings):
        return self._model.sample(*arguments, **settings)

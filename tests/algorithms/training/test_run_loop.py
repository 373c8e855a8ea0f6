"""What is due after each update of a run: a trainer that plays nothing, and all that the loop asks for."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from typeguard import suppress_type_checks

from algorithms import MSGRPOConfig, RunConfig
from algorithms.errors import RunStoppedError
from algorithms.play.evaluation import Evaluation
from algorithms.play.rollouts import Rollouts
from algorithms.runs.writer import EPISODES, WARNINGS
from algorithms.training import run_loop
from algorithms.training.metrics import Update, evaluation_metrics
from algorithms.training.run_loop import History, RunLoop

RUN = RunConfig(
    evaluate_every=2,
    evaluation_episodes=3,
    final_episodes=7,
    evaluation_seed=11,
    checkpoint_every=4,
    keep_checkpoints=4,
)
WELL = {"reward": 0.5, "invalid_rate": 0.0}


def evaluation(reward: float) -> Evaluation:
    return Evaluation(
        episodes=(),
        reward=reward,
        reward_by_agent={"player": reward},
        success_rate=math.nan,
        invalid_rate=0.0,
        episode_length=1.0,
    )


class Played:
    """A trainer of six updates, the files and the reporter of its run: what happens, in order.

    Args:
      rewards: of each evaluation, sampled and then greedy.
      metrics: of each update.
      constrained: whether the policy is evaluated without the constraint, too.
    """

    def __init__(
        self,
        rewards: Sequence[float] = (),
        metrics: dict[str, float] = WELL,
        *,
        constrained: bool = False,
    ) -> None:
        self.rewards, self.metrics, self.constrained = iter(rewards), metrics, constrained
        self.config, self.update_index = MSGRPOConfig(updates=6), 0
        self.processes = SimpleNamespace(gather=list, broadcast=lambda x: x, is_first=True)
        self.game, self.policies, self.path = None, {}, Path("run")
        self.events: list[Any] = []
        self.notes: tuple[str, ...] = ()
        self.written: list[tuple[str, Any]] = []

    def evaluate(self, episodes: int, **settings: Any) -> Evaluation:
        self.events.append((episodes, settings))
        self.notes += (f"server {len(self.events)} is down",)
        return evaluation(next(self.rewards, 0.0))

    def take_notes(self) -> tuple[str, ...]:
        notes, self.notes = self.notes, ()
        return notes

    def update(self) -> Update:
        self.update_index += 1
        self.events.append(self.update_index)
        episodes = [SimpleNamespace(agents=()) for _ in range(4)]
        return Update(
            metrics={"update": float(self.update_index), **self.metrics},
            seconds={},
            rollouts=Rollouts(groups=(SimpleNamespace(episodes=episodes),), failed=()),
            notes=("memory ran out",) if self.update_index == 2 else (),
        )

    def write(self, file: str, record: Any) -> None:
        self.written.append((file, record))

    def sync(self) -> dict[str, int]:
        return {}

    def of(self, file: str) -> list[Any]:
        return [record for name, record in self.written if name == file]


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and policies are written into the events of the trainer."""

    def saved(path: Path, index: int, **what: Any) -> None:
        what["training"].events.append("checkpoint")

    monkeypatch.setattr(run_loop, "training_state", lambda trainer: trainer)
    monkeypatch.setattr(run_loop, "policy_saver", lambda trainer: None)
    monkeypatch.setattr(run_loop, "save_checkpoint", saved)
    monkeypatch.setattr(run_loop, "remove_old_checkpoints", lambda path, **_: None)
    monkeypatch.setattr(
        run_loop, "write_policy", lambda trainer, folder: trainer.events.append(folder.name)
    )
    monkeypatch.setattr(run_loop, "transcript", lambda episode, **named: {})
    monkeypatch.setattr(run_loop, "first_update_warnings", lambda *given: [])


@suppress_type_checks
def whole(played: Any, run: RunConfig = RUN, history: Sequence[Any] = ()) -> Any:
    def silent(*given: Any) -> None: ...

    return RunLoop(
        trainer=played,
        run=run,
        files=played,
        reporter=SimpleNamespace(update=silent, evaluated=silent, message=silent),  # type: ignore[arg-type]
        track=None,
        interruption=SimpleNamespace(signal=None),  # type: ignore[arg-type]
        history=History(history),
        situation=None,  # type: ignore[arg-type]
    ).all()


def test_what_is_due_and_when() -> None:
    """Each evaluation is sampled and greedy, on the same starts; after the last update comes the last one alone."""
    played = Played()
    whole(played, attrs.evolve(RUN, keep_best=False))

    def both(episodes: int) -> list[Any]:
        asked = {"seed": 11, "constrained": None}
        return [(episodes, asked), (episodes, {**asked, "temperature": 0.0})]

    assert played.events == [
        *both(7), 1, 2, *both(3), 3, 4, *both(3), "checkpoint", 5, 6, "checkpoint", *both(7),
    ]  # fmt: skip


def test_a_constrained_policy_is_evaluated_freely_at_the_end() -> None:
    played = Played(constrained=True)
    whole(played, attrs.evolve(RUN, keep_best=False, evaluate_every=9))
    asked = [event[1]["constrained"] for event in played.events if isinstance(event, tuple)]
    assert asked == [None, None, False, False, None, None]


def test_the_best_policy_is_written_where_an_evaluation_is_better_than_all_before() -> None:
    """By its sampled return; an equal one is not better."""
    played = Played((0.2, 0.9, 0.5, 0.1, 0.5, 0.1, 0.4, 0.1))
    start, end, _ = whole(played)
    before = [event for event in played.events if event == "best" or isinstance(event, int)]
    assert before == ["best", 1, 2, "best", 3, 4, 5, 6]
    assert (start[0].reward, start[1].reward, end[0].reward) == (0.2, 0.9, 0.4)


def test_a_resumed_run_keeps_its_first_evaluation_and_its_best() -> None:
    """The first line of the metrics is that of the start; later ones are not."""
    lines = [
        {"update": float(n), **evaluation_metrics(evaluation(reward), "eval")}
        for n, reward in enumerate((0.25, 0.75))
    ]
    played = Played((0.5,) * 6)
    played.update_index = 3
    start, _, _ = whole(played, history=[lines[0], {"update": 1.0, **WELL}, lines[1]])
    assert start[0].reward == 0.25
    assert played.events[0] == 4 and "best" not in played.events


def test_what_looks_wrong_is_told_once_and_what_happened_each_time() -> None:
    """Replies are invalid in every update, which counts from the third on."""
    played = Played(metrics={"reward": 0.0, "invalid_rate": 1.0})
    whole(played)
    told = [(one["update"], one["warning"].split()[0]) for one in played.of(WARNINGS)]
    assert [one for one in told if one[1] != "server"] == [(2, "memory"), (3, "nearly")]


def test_what_servers_did_during_an_evaluation_is_told_with_it() -> None:
    """After the last update no other would tell."""
    played = Played()
    whole(played, attrs.evolve(RUN, keep_best=False))
    told = [one["update"] for one in played.of(WARNINGS) if "is down" in one["warning"]]
    assert told == [0, 0, 2, 2, 4, 4, 6, 6] and played.notes == ()


def test_a_collapse_stops_a_run_that_asks_for_it() -> None:
    played = Played(metrics={"reward": 0.0, "invalid_rate": 1.0})
    with pytest.raises(RunStoppedError, match="stopped after update 3: nearly every reply"):
        whole(played, attrs.evolve(RUN, stop_on_collapse=True))
    assert played.events[-1] == 3


@pytest.mark.parametrize("logged", [0, 3, 9])
def test_so_many_transcripts_are_written_for_an_update(logged: int) -> None:
    played = Played()
    whole(played, attrs.evolve(RUN, episodes_logged=logged))
    assert len(played.of(EPISODES)) == 6 * min(logged, 4)

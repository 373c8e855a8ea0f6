"""Before the first step, sampling and scoring must agree: planted wrong engines are refused, right ones are not."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from typeguard import suppress_type_checks

import games
from algorithms import MSGRPOTrainer
from algorithms.distributed.sharding import Sharding
from algorithms.runs.state import TrainingState
from algorithms.training import ratio_check
from algorithms.training.batch_learner import BatchLearner
from algorithms.training.learner import learners_of
from algorithms.training.metrics import TokenTally
from algorithms.training.ratio_check import (
    check_ratios,
    narrow_range_warning,
    ratio_tolerance,
)
from algorithms.training.snapshot import load_training_state, training_state
from lap import (
    LanguageAgentPolicy,
    MemorylessPrompt,
    ModelError,
    Prompt,
    Sampling,
    WholeReplyParser,
)
from lap.agreement import Disagreement
from tests.checkpoints import tiny_model
from tests.letter_model import LetterModel
from tests.runs import SMALL_RUN
from tests.whole_runs import lap_policy
from tsmg import Completion, PlayRandomLegal, Stream, with_invalid_rule

GAME = with_invalid_rule(games.make("LineWalk-v0", length=4), PlayRandomLegal(penalty=0.1))


class Wrong(LetterModel):
    """Samples at another temperature than it says, or records other log-probabilities than those it sampled by."""

    def __init__(self, *, heat: float = 1.0, shift: float = 0.0) -> None:
        super().__init__("lr")
        self.heat, self.shift = heat, shift

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: Any = None,
    ) -> list[Completion]:
        other = attrs.evolve(sampling, temperature=sampling.temperature * self.heat)
        sampled = super().sample(prompts, rngs, sampling=other, stop_criterion=stop_criterion)
        return [
            attrs.evolve(one, logprobs=(*one.logprobs[:-1], one.logprobs[-1] + self.shift))
            for one in sampled
        ]


def trainer(model: Any, **settings: Any) -> MSGRPOTrainer:
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False), model=model, parser=WholeReplyParser()
    )
    config = attrs.evolve(SMALL_RUN, groups=2, group_size=4, max_reply_tokens=8, **settings)
    return MSGRPOTrainer(game=GAME, policy=policy, config=config)


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.network.parameters()])


@pytest.mark.parametrize("wrong", [{"heat": 3.0}, {"shift": 2e-3}, {"shift": -2e-3}])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_wrong_engine_is_refused_before_the_first_step(
    wrong: dict[str, float], epochs: int
) -> None:
    model = Wrong(**wrong)
    before = weights(model)
    with pytest.raises(ModelError, match="sampling and scoring disagree") as caught:
        trainer(model, epochs=epochs).update()
    assert torch.equal(weights(model), before)
    for part in ("token", "of the reply", "was recorded", "float32 explains 0.001", "check_model"):
        assert part in str(caught.value)
    if "shift" in wrong:
        assert "greatest |log ratio| is 0.002" in str(caught.value)


@pytest.mark.parametrize("shift", [0.0, 2e-4, -2e-4])
def test_rounding_is_not_refused(shift: float) -> None:
    """With several epochs the ratio leaves 1 after the first step, as it should."""
    metrics = trainer(Wrong(shift=shift), epochs=3, learning_rate=0.3).update().metrics
    assert (metrics["ratio_max_deviation"] or 0.0) > 1e-3


@pytest.mark.parametrize(
    ("shift", "refused"), [(1.2, True), (-1.2, True), (0.9, False), (-0.9, False)]
)
def test_a_wide_tolerance_is_one_of_log_ratios_on_both_sides_of_1(
    monkeypatch: pytest.MonkeyPatch, shift: float, refused: bool
) -> None:
    """A ratio of exp(-1.2) is nearer to 1 than one of exp(0.9)."""
    monkeypatch.setitem(ratio_check.LOGPROB_TOLERANCES, torch.float32, 1.0)
    expected = pytest.raises(ModelError) if refused else contextlib.nullcontext()
    with expected:
        trainer(Wrong(shift=shift)).update()


def test_the_token_that_is_named_is_the_worst_one() -> None:
    """Its two log-probabilities are apart by what was planted, and it is the last one of its reply."""
    with pytest.raises(ModelError) as caught:
        trainer(Wrong(shift=0.5)).update()
    told = str(caught.value)
    scored, recorded = (
        float(told.partition(before)[2].split()[0].rstrip(","))
        for before in ("has the log-probability ", "but ")
    )
    assert recorded - scored == pytest.approx(0.5, abs=1e-3)


class WrongAt(Wrong):
    """Records log-probabilities that are off by little where it sampled, and by much at one position."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position

    def sample(self, *given: Any, **named: Any) -> list[Completion]:
        return [
            attrs.evolve(one, logprobs=(*one.logprobs[:-1], one.logprobs[-1] + self.off(one)))
            for one in super().sample(*given, **named)
        ]

    def off(self, completion: Completion) -> float:
        return 0.5 if f"You are at {self.position} " in completion.prompt_text else 0.1


@pytest.mark.parametrize("position", [1, 2, 3])
@pytest.mark.parametrize("token_budget", [1, 4096])
def test_the_worst_token_is_found_in_whichever_micro_batch_it_is(
    position: int, token_budget: int
) -> None:
    with pytest.raises(ModelError, match=r"greatest \|log ratio\| is 0.5, "):
        trainer(WrongAt(position), token_budget=token_budget).update()


class NotANumberAt(WrongAt):
    """Records no number at one position, and the truth elsewhere."""

    def off(self, completion: Completion) -> float:
        return 0.0 if super().off(completion) < 0.5 else math.nan


@pytest.mark.parametrize("position", [1, 2, 3])
def test_what_is_not_a_number_is_found_in_whichever_micro_batch_it_is(position: int) -> None:
    with pytest.raises(ModelError, match=r"but nan was recorded .* \|log ratio\| is inf, "):
        trainer(NotANumberAt(position), token_budget=1).update()


@pytest.mark.parametrize("of_processes", [[math.nan, 0.0], [0.0, math.nan]])
def test_what_is_not_a_number_is_found_in_whichever_process_it_is(
    of_processes: list[float],
) -> None:
    found = [
        Disagreement(token=1, position=0, reply="", recorded=0.0, scored=one)
        for one in of_processes
    ]
    gathered = iter([of_processes, found])
    sharding: Any = SimpleNamespace(
        processes=SimpleNamespace(gather=lambda own: next(gathered)),
        micro_batches=lambda rows, token_budget: [],
    )
    learners = learners_of({"player": lap_policy()})
    with (
        suppress_type_checks(),
        pytest.raises(ModelError, match=r"greatest \|log ratio\| is inf, "),
    ):
        check_ratios(0.0, learners, [], sharding, token_budget=1)


def test_a_tally_keeps_what_is_not_a_number() -> None:
    tallies = [TokenTally() for _ in range(3)]
    tallies[1].ratio_deviation = math.nan
    assert math.isnan(TokenTally.total(tallies).ratio_deviation)


class GivesTheFirstToken(Wrong):
    """Its first token counts as given, with log-probability 0; the last one is off."""

    def sample(self, *given: Any, **named: Any) -> list[Completion]:
        return [
            attrs.evolve(
                one,
                trainable=(False, *one.trainable[1:]),
                logprobs=(0.0, *one.logprobs[1:]),
            )
            for one in super().sample(*given, **named)
        ]


def test_a_token_that_was_given_is_not_compared() -> None:
    """It was no draw: that the model would rather have said another one is no disagreement."""
    trainer(GivesTheFirstToken()).update()
    with pytest.raises(ModelError, match=r"greatest \|log ratio\| is 0.01, "):
        trainer(GivesTheFirstToken(shift=0.01)).update()


def test_only_the_first_update_that_learns_is_checked_and_that_of_a_resumed_process(
    tmp_path: Path,
) -> None:
    model = Wrong()
    one = trainer(model)
    one.update()
    training_state(one).save(tmp_path)
    model.shift = 0.5
    one.update()
    resumed = trainer(Wrong(shift=0.5))
    load_training_state(resumed, TrainingState.load(tmp_path))
    with pytest.raises(ModelError, match="sampling and scoring disagree"):
        resumed.update()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 1.0)])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_the_tolerance_follows_from_the_type_that_is_computed_in(
    dtype: str, tolerance: float, autocast: Any
) -> None:
    model = tiny_model()
    model.network.to(getattr(torch, dtype))
    model.autocast = autocast
    policy = attrs.evolve(lap_policy(), model=model)
    expected = 1.0 if autocast else tolerance
    assert ratio_tolerance(learners_of({"player": policy})) == expected


def test_of_several_policies_the_coarsest_type_decides() -> None:
    exact, coarse = (attrs.evolve(lap_policy(), model=tiny_model()) for _ in range(2))
    coarse.model.network.to(torch.bfloat16)
    assert ratio_tolerance(learners_of({"one": exact, "other": coarse})) == 1.0


@pytest.mark.parametrize(
    ("autocast", "settings", "said"),
    [
        (None, {"clip_low": 3e-4, "clip_high": 4e-4}, None),
        (torch.bfloat16, {}, None),
        (torch.bfloat16, {"clip_low": math.inf, "clip_high": 0.2}, None),
        (
            torch.bfloat16,
            {"clip_low": 3e-4, "clip_high": 4e-4},
            r"\[0.9997, 1.0004\].*in bfloat16 \(0.1",
        ),
        (torch.bfloat16, {"clip_high": 0.05}, r"\[0.8, 1.05\]"),
        (torch.bfloat16, {"clip_high": 0.05, "importance_weights": "truncated"}, None),
    ],
)
def test_a_range_that_rounding_leaves_is_warned_of(
    autocast: Any, settings: dict[str, Any], said: str | None
) -> None:
    model = tiny_model()
    model.autocast = autocast
    learners = learners_of({"player": attrs.evolve(lap_policy(), model=model)})
    with contextlib.nullcontext() if said is None else pytest.warns(UserWarning, match=said):
        BatchLearner(
            learners=learners,
            config=attrs.evolve(SMALL_RUN, **settings),
            sharding=Sharding("none"),
        )


def test_of_an_engine_of_its_own_nothing_finer_than_bfloat16_is_taken_for_granted() -> None:
    model = tiny_model()
    model.push, model.take_notes, model.pushed_version = (lambda: 0.0), list, None  # type: ignore[attr-defined]
    learners = learners_of({"player": attrs.evolve(lap_policy(), model=model)})
    narrow = attrs.evolve(SMALL_RUN, clip_low=3e-4, clip_high=4e-4)
    assert "bfloat16" in (narrow_range_warning(learners, narrow) or "")

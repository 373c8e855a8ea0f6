"""A learning pass that runs out of memory is done again in smaller parts, and gives the same gradient."""

import attrs
import pytest
import torch

import games
from algorithms import MSGRPOTrainer
from algorithms.training.learner import Learner
from algorithms.training.out_of_memory import is_out_of_memory, with_halved_batches
from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel, WholeReplyParser
from tests.runs import SMALL_RUN

OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 8 b"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    MemoryError(),
]


def test_a_real_allocation_that_fails_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", OUT, ids=lambda e: type(e).__name__)
def test_parts_are_halved_until_they_fit(error: Exception) -> None:
    tried = []

    def attempt(size: int) -> str:
        tried.append(size)
        if size > 5:
            raise error
        return "done"

    assert with_halved_batches(attempt, 40) == "done"
    assert tried == [40, 20, 10, 5]
    with pytest.raises(type(error)):
        with_halved_batches(attempt, 40, retry=False)
    assert tried[4:] == [40]


def test_other_errors_and_parts_of_one_pass_through() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("shapes do not match" if size > 1 else "out of memory")

    assert not is_out_of_memory(ValueError("out of memory"))
    for size, words in ((8, "shapes"), (1, "out of memory")):
        with pytest.raises(RuntimeError, match=words):
            with_halved_batches(attempt, size)


def test_an_update_that_runs_out_of_memory_is_the_same_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory runs out in a second part, when a first one has already left its gradient."""

    def trainer() -> MSGRPOTrainer:
        policy = LanguageAgentPolicy(
            prompt=MemorylessPrompt(),
            model=TabularModel(("pass", "bet")),
            parser=WholeReplyParser(),
        )
        config = attrs.evolve(SMALL_RUN, token_budget=6, epochs=2, max_grad_norm=1e6)
        return MSGRPOTrainer(game=games.make("KuhnPoker-v0"), policy=policy, config=config)

    one, other = trainer(), trainer()
    expected = one.update()
    loss = Learner.loss
    sizes = []

    def scarce(self, *given, **named):  # type: ignore[no-untyped-def]
        sizes.append(other.batch_learner.token_budget)
        if other.batch_learner.token_budget > 3 and len(sizes) == 2:
            raise OUT[0]
        return loss(self, *given, **named)

    monkeypatch.setattr(Learner, "loss", scarce)
    update = other.update()
    assert sizes[:3] == [6, 6, 3] and set(sizes[2:]) == {3}
    assert update.metrics == pytest.approx(expected.metrics)
    torch.testing.assert_close(
        other.policy.model.logits, one.policy.model.logits, rtol=1e-9, atol=1e-9
    )
    assert update.notes == (
        "memory ran out while learning: 'token_budget' is 3 instead of 6 from here on",
    )
    assert expected.notes == () and other.update().notes == ()

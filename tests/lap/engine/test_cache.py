"""The key-value cache: which rows enter together, and the logits of each row alone."""

import pytest
import torch

from lap.engine.cache import KeyValueCache
from lap.engine.hidden_states import unpadded_logits
from lap.engine.prefix_tree import Context, ReplyTree
from tests.checkpoints import tiny_model

LONG = tuple(range(3, 23))  # 20 tokens, enough to be computed once for all


def alone(network: torch.nn.Module, context: Context) -> torch.Tensor:
    return unpadded_logits(network, ReplyTree.of_prefixes((*context[0], *context[1]), [()]))[0]


@pytest.mark.parametrize(
    "contexts",
    [
        [(LONG, ()), ((*LONG, 5), ()), ((*LONG, 5, 6, 7), ())],  # each begins the next
        [(LONG, ()), (LONG[:-1], LONG[-1:])],  # the same tokens, parted otherwise
        [(LONG, ()), (LONG, (4,)), ((9, *LONG), ())],  # nothing in common
    ],
)
@torch.no_grad()
def test_rows_that_enter_together_have_the_logits_of_each_alone(contexts: list[Context]) -> None:
    network = tiny_model(sharp=3.0).network
    cache = KeyValueCache(network, 10_000, "padding_anywhere")
    computed, logits = cache.compute(contexts)
    assert computed == contexts
    for context, row in zip(computed, logits, strict=True):
        torch.testing.assert_close(row, alone(network, context), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("budget", "entering"), [(40, 2), (59, 2), (60, 3), (1, 1)])
@torch.no_grad()
def test_as_many_rows_enter_as_the_budget_has_room_for(budget: int, entering: int) -> None:
    """Rows of 20 tokens; a single one may exceed the budget."""
    cache = KeyValueCache(tiny_model().network, budget, "padding_anywhere")
    contexts: list[Context] = [((n, *LONG[1:]), ()) for n in range(5)]
    computed, _ = cache.compute(contexts)
    assert computed == contexts[:entering]


@pytest.mark.parametrize(
    "followed",
    [
        [(0, 5), (1, 5), (2, 6)],  # all rows go on, in their order
        [(0, 5), (0, 6), (2, 5)],  # as many rows, but one parts where another ends
        [(2, 5), (1, 5), (0, 5)],
        [(1, 5)],
    ],
)
@torch.no_grad()
def test_rows_that_go_on_have_the_logits_of_each_alone(followed: list[tuple[int, int]]) -> None:
    network = tiny_model(sharp=3.0).network
    cache = KeyValueCache(network, 10_000, "padding_anywhere")
    prompts = [LONG, (*LONG, 5), (9, *LONG)]
    cache.compute([(prompt, ()) for prompt in prompts])
    for reply in ((), (7,)):
        contexts: list[Context] = [(prompts[n], (token, *reply)) for n, token in followed]
        computed, logits = cache.compute(contexts)
        assert computed == contexts
        for context, row in zip(computed, logits, strict=True):
            torch.testing.assert_close(row, alone(network, context), rtol=0, atol=1e-4)

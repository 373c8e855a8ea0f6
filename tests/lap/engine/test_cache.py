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

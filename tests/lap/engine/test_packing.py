"""Trees of replies in rows and batches: every context once, little padding, and the logits of each reply alone."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lap import Message, Prompt, Sampling, Segment
from lap.engine import hidden_states, packing
from lap.engine.hidden_states import context_logits, find_layout
from lap.engine.packing import pack_rows, reply_batches, tree_batches
from lap.engine.prefix_tree import ReplyTree, common_prefix_length, contexts_of
from tests.checkpoints import tiny_model
from tsmg import Stream

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple)
TREES = st.lists(
    st.builds(ReplyTree.of, IDS, st.lists(IDS, min_size=1, max_size=6)), min_size=1, max_size=12
)


def test_a_mask_that_lets_siblings_see_each_other_is_noticed(monkeypatch):
    """Negative control: nodes attend to all earlier tokens of the row, as in plain concatenation."""

    def leaky(trees, members):
        row = build(trees, members)
        return attrs.evolve(row, mask=np.tri(len(row.tokens), dtype=bool))

    monkeypatch.setattr(hidden_states, "can_attend_in_tries", lambda network: False)
    build = packing._row
    monkeypatch.setattr(packing, "_row", leaky)
    model = tiny_model(sharp=3.0)
    prompt = Prompt((Message("user", (Segment("P F\nF G", trusted=False),)),))
    (completion,) = model.sample([prompt], [Stream(0, "test", 0)], sampling=Sampling())
    assert find_layout(model.network, completion.prompt_ids) == "packed"


@pytest.mark.parametrize("layout", ["tree_attention", "packed"])
@given(trees=TREES, width=st.integers(1, 40))
def test_trees_that_share_rows_or_batches_give_the_logits_of_each_alone(layout, trees, width):
    model = tiny_model(sharp=3.0)
    alone = torch.cat([context_logits(model.network, [tree], "padded") for tree in trees])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hidden_states, "can_attend_in_tries", lambda network: False)
        patched.setattr(hidden_states, "_row_width", lambda network: width)
        together = context_logits(model.network, trees, layout)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


@given(trees=TREES, width=st.integers(1, 40))
def test_rows_hold_every_context_once_and_little_padding(trees, width):
    batches = pack_rows(trees, width=width)
    rows = [row for batch in batches for row in batch]
    assert sorted(t for row in rows for t in row.trees) == list(range(len(trees)))
    for row in rows:
        assert len(row.contexts) == sum(len(trees[t].prefixes) for t in row.trees)
        assert len(row.tokens) == len(row.positions) == len(row.mask)
    for batch in batches:
        lengths = [len(row.tokens) for row in batch]
        assert sum(lengths) >= 0.9 * len(lengths) * max(lengths)
    assert sum(len(row.tokens) for row in rows) <= sum(tree.size for tree in trees)


def test_prompts_are_joined_where_they_share_half_as_far_as_rows_stay_short():
    """Attention grows with the square of a row, so that rows of unlike prompts stop at the width, others at four."""

    def longest_row(trees):
        return max(len(row.tokens) for batch in pack_rows(trees, width=16) for row in batch)

    unlike = [ReplyTree.of((n, *range(100, 107)), [(1, 2)]) for n in range(20)]  # 9 tokens each
    assert longest_row(unlike) == 9
    alike = [
        ReplyTree.of((*range(100, 107), n), [(1, 2)]) for n in range(40)
    ]  # 2 beside the beginning
    assert longest_row(alike) in (63, 64)
    less_than_half = [ReplyTree.of((1, 2, 3, n, n, n, n, n), [(1, 2)]) for n in range(20)]
    assert longest_row(less_than_half) == 9


@given(trees=TREES, width=st.integers(1, 40), padding=st.sampled_from([None, 0.1, 1.0]))
def test_batches_hold_every_context_at_its_own_token(trees, width, padding):
    """The last token of every context, prompt or prefix, stands at the place that the batch names for it."""
    contexts = contexts_of(trees)
    batches = reply_batches(trees, padding=padding)
    if padding is not None:
        batches += tree_batches(trees, width=width, padding=padding)
    for batch in batches:
        tokens, positions = batch.tokens.flatten(), batch.positions.flatten()
        for place, context in zip(batch.places, batch.contexts, strict=True):
            prompt, prefix = contexts[context]
            assert tokens[place] == (*prompt, *prefix)[-1]
            assert positions[place] == len(prompt) + len(prefix) - 1
    covered = sorted(int(context) for batch in batches for context in batch.contexts)
    times = 1 if padding is None else 2
    assert covered == sorted(times * list(range(len(contexts))))


@given(a=IDS, b=IDS)
def test_the_common_prefix_is_the_longest(a, b):
    n = common_prefix_length(a, b)
    assert (a[:n] == b[:n] and a[: n + 1] != b[: n + 1]) or a == b == a[:n]

"""How likely recorded replies are under the present weights, differentiably: the learning engine.

Each context is computed once (``lap.engine.contexts``), and the head sees contexts alone, some at a time: the logits
of a large vocabulary are never held for the whole batch, neither forward nor backward.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lap.engine.contexts import (
    Ids,
    Layout,
    ReplyTree,
    causal_network,
    context_logits,
    context_states,
    head_logits,
    right_padded,
)
from lap.engine.sampling import Sampling, entropy, support_mask
from lap.model import TokenLogprobs
from tsmg import Completion

_AT_ONCE = 2**24  # logits that are held at once

_Scores = tuple[Tensor, Tensor]
"""Log-probabilities and entropies."""

_Choice = tuple[int, int, tuple[int, ...] | None]
"""A token that was chosen: the row of its context, the token, and the support that it was chosen from."""


def score(
    network: Any,
    completions: Sequence[Completion],
    *,
    layout: Layout,
    sampling: Sampling,
    one_pass: bool = False,
) -> TokenLogprobs:
    """Log-probabilities and entropies at every token of recorded replies.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      completions: the records.
      layout: how contexts are computed (``contexts.find_layout``).
      sampling: the distribution that the tokens were drawn from; not greedy.
      one_pass: whether all calls pass through the layers at once, whatever the padding.
    """
    replies: dict[Ids, list[Ids]] = {}
    for completion in completions:
        replies.setdefault(completion.prompt_ids, []).append(completion.reply_ids)
    trees = [ReplyTree.of(prompt, of_prompt) for prompt, of_prompt in replies.items()]
    contexts = [(tree.prompt, prefix) for tree in trees for prefix in tree.prefixes]
    row_of = {context: row for row, context in enumerate(contexts)}
    chosen_by = [_choices(completion, row_of) for completion in completions]
    distinct = sorted({choice for choices in chosen_by for choice in choices}, key=_place)
    logprobs_C, entropies_C = _scores(
        network, trees, distinct, layout=layout, sampling=sampling, one_pass=one_pass
    )
    number = {choice: n for n, choice in enumerate(distinct)}
    width = max((len(completion.reply_ids) for completion in completions), default=0)
    index = [[number[choice] for choice in choices] for choices in chosen_by]
    device = logprobs_C.device
    gather_B_L = right_padded(index, width).long().to(device)
    real_B_L = right_padded([[1] * len(row) for row in index], width).bool().to(device)
    mask_B_L = (
        right_padded([completion.trainable for completion in completions], width).bool().to(device)
    )
    return TokenLogprobs(
        logprobs_B_L=torch.where(real_B_L, logprobs_C[gather_B_L], 0.0),
        entropies_B_L=torch.where(real_B_L, entropies_C[gather_B_L], 0.0),
        mask_B_L=mask_B_L,
    )


def _choices(completion: Completion, row_of: Mapping[tuple[Ids, Ids], int]) -> list[_Choice]:
    support = completion.support or (None,) * len(completion.reply_ids)
    return [
        (row_of[completion.prompt_ids, completion.reply_ids[:n]], token, support[n])
        for n, token in enumerate(completion.reply_ids)
    ]


def _place(choice: _Choice) -> tuple[int, int, tuple[int, ...]]:
    row, token, support = choice
    return row, token, support or ()


def _scores(
    network: Any,
    trees: Sequence[ReplyTree],
    choices: Sequence[_Choice],
    *,
    layout: Layout,
    sampling: Sampling,
    one_pass: bool,
) -> _Scores:
    """Scores of each choice, in the order of their rows. Shapes (choices,)."""
    if layout == "padded":
        return _scores_of(context_logits(network, trees, layout), choices, sampling)
    states = context_states(network, trees, layout, one_pass=one_pass)
    head: Any = causal_network(network).get_output_embeddings()
    at_once = max(1, _AT_ONCE // len(head.weight))
    parts = [choices[n : n + at_once] for n in range(0, len(choices), at_once)]
    if len(parts) == 1:
        return _scores_of(head_logits(network, states), choices, sampling)
    scores = [_recomputed(_scorer(network, part, sampling), states) for part in parts]
    logprobs, entropies = zip(*scores, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _scorer(
    network: Any, choices: Sequence[_Choice], sampling: Sampling
) -> Callable[[Tensor], _Scores]:
    """From the states of all contexts to the scores of some choices, by the logits of their contexts alone."""
    first, last = choices[0][0], choices[-1][0]
    moved = [(row - first, token, support) for row, token, support in choices]

    def scores(states: Tensor) -> _Scores:
        return _scores_of(head_logits(network, states[first : last + 1]), moved, sampling)

    return scores


def _recomputed(scores: Callable[[Tensor], _Scores], states: Tensor) -> _Scores:
    """Scores whose logits are dropped, and computed again when gradients flow back."""
    if not torch.is_grad_enabled():
        return scores(states)
    recomputed: _Scores = checkpoint(scores, states, use_reentrant=False)
    return recomputed


def _scores_of(logits: Tensor, choices: Sequence[_Choice], sampling: Sampling) -> _Scores:
    """Scores of each choice under the distribution that was sampled from. Shapes (choices,)."""
    scaled = logits / sampling.temperature
    rows = torch.tensor([row for row, _, _ in choices], device=logits.device)
    tokens = torch.tensor([token for _, token, _ in choices], device=logits.device)
    if all(support is None for _, _, support in choices):
        dist = torch.log_softmax(scaled, dim=-1)
        return dist[rows, tokens], entropy(dist)[rows]
    vocabulary = scaled.shape[-1]
    whole = tuple(range(vocabulary))
    kept = support_mask([support or whole for _, _, support in choices], vocabulary)
    dist = torch.log_softmax(scaled[rows].masked_fill(~kept.to(logits.device), -torch.inf), dim=-1)
    return dist.gather(-1, tokens[:, None])[:, 0], entropy(dist)

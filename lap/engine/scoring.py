"""How likely recorded replies are under the present weights, differentiably: the learning engine.

Each context is computed once (``lap.engine.hidden_states``), and the head sees contexts alone, some at a time: the
logits of a large vocabulary are never held for the whole batch, neither forward nor backward.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lap.engine.hidden_states import (
    Layout,
    causal_network,
    context_logits,
    context_states,
    head_logits,
)
from lap.engine.packing import right_padded
from lap.engine.prefix_tree import Context, Ids, ReplyTree, contexts_of
from lap.engine.sampling import Sampling, TokenLogprobs, entropy, support_mask
from lap.errors import ModelError
from tsmg import Completion

LOGITS_AT_ONCE = 2**24
"""How many logits are held at once."""

_Scores = tuple[Tensor, Tensor]
"""Log-probabilities and entropies."""


class _Target(NamedTuple):
    """A token to score: the row of its context, the token, and the support that it was drawn from, if not all."""

    row: int
    token: int
    support: tuple[int, ...] | None


def score(
    network: torch.nn.Module,
    completions: Sequence[Completion],
    *,
    layout: Layout,
    sampling: Sampling,
    one_pass: bool = False,
    value_head: torch.nn.Module | None = None,
) -> TokenLogprobs:
    """Log-probabilities and entropies at every token of recorded replies that the policy chose, and 0 at others.

    A token that was given, or that alone could follow, is computed only if a chosen token comes after it.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      completions: the records.
      layout: how contexts are computed (``hidden_states.find_layout``).
      sampling: the distribution that the tokens were drawn from; not greedy.
      one_pass: whether all completions pass through the layers at once, whatever the padding.
      value_head: from last hidden states, in float32, to a value each: of the place before the token.

    Raises:
      ModelError: the sampling is greedy; or there is a value head, and the network does not give its states.
    """
    if sampling.is_greedy:
        raise ModelError("temperature 0 is for evaluation only: a point mass has no score")
    if value_head is not None:
        state_width(network, layout)
    places_B = [sampled_places(completion) for completion in completions]
    replies: dict[Ids, list[Ids]] = {}
    for one, places in zip(completions, places_B, strict=True):
        replies.setdefault(one.prompt_ids, []).append(one.reply_ids[: places[-1] + 1])
    trees = [ReplyTree.of(prompt, of_prompt) for prompt, of_prompt in replies.items()]
    row_of = {context: row for row, context in enumerate(contexts_of(trees))}
    targets_B = [
        {place: _target(one, place, row_of) for place in places}
        for one, places in zip(completions, places_B, strict=True)
    ]
    distinct = sorted(
        {target for targets in targets_B for target in targets.values()},
        key=lambda target: (target.row, target.token, target.support or ()),
    )
    states = None
    if layout != "padded":
        states = context_states(network, trees, layout, one_pass=one_pass)
    logprobs_C, entropies_C = _scores(network, trees, states, distinct, sampling=sampling)
    number = {target: n for n, target in enumerate(distinct)}
    width = max((len(completion.reply_ids) for completion in completions), default=0)
    index = [
        [number[targets[place]] if place in targets else 0 for place in range(width)]
        for targets in targets_B
    ]
    gather_B_L = torch.tensor(index, dtype=torch.long, device=logprobs_C.device)
    trainable_B_L = right_padded([completion.trainable for completion in completions], width)
    mask_B_L = trainable_B_L.bool().to(logprobs_C.device)
    return TokenLogprobs(
        logprobs_B_L=torch.where(mask_B_L, logprobs_C[gather_B_L], 0.0),
        entropies_B_L=torch.where(mask_B_L, entropies_C[gather_B_L], 0.0),
        mask_B_L=mask_B_L,
        values_B_L=None
        if value_head is None
        else _values(value_head, states, targets_B, max(1, width)),
    )


def _values(
    head: torch.nn.Module,
    states: Tensor | None,
    targets_B: Sequence[Mapping[int, _Target]],
    width: int,
) -> Tensor:
    """The values of the places before scored tokens, 0 elsewhere. Shape (B, L)."""
    assert states is not None  # noqa: S101 - checked by ``state_width``
    with torch.autocast(states.device.type, enabled=False):
        values_C = head(states.float())[:, 0]
    rows = [[t[place].row if place in t else -1 for place in range(width)] for t in targets_B]
    rows_B_L = torch.tensor(rows, dtype=torch.long, device=states.device)
    return torch.where(rows_B_L >= 0, values_C[rows_B_L.clamp(min=0)], 0.0)


def state_width(network: torch.nn.Module, layout: Layout) -> int:
    """The number of features of a last hidden state.

    Args:
      network: a causal language model of the transformers library, wrapped or not.
      layout: how its contexts are computed.

    Raises:
      ModelError: it does not give its states.
    """
    if layout == "padded":
        raise ModelError(
            "a value head needs the network's last hidden states, which it does not give apart from its logits: use a "
            "critic of its own"
        )
    head: Any = causal_network(network).get_output_embeddings()
    return int(head.weight.shape[1])


def sampled_places(completion: Completion) -> list[int]:
    """Where the policy chose a token; if it chose none, the first place of the reply, so that no batch is empty.

    Example:
      >>> given = Completion(prompt_ids=(), reply_ids=(1, 2), trainable=(False, True), logprobs=(0.0, -1.0))
      >>> sampled_places(given)
      [1]
    """
    return [place for place, is_ours in enumerate(completion.trainable) if is_ours] or [0]


def _target(completion: Completion, place: int, row_of: Mapping[Context, int]) -> _Target:
    """A token of a reply, with the row of the context that it was drawn at."""
    row = row_of[completion.prompt_ids, completion.reply_ids[:place]]
    if not completion.reply_ids:  # any token will do: it is left out of the rows
        return _Target(row, 0, None)
    support = completion.support and completion.support[place]
    return _Target(row, completion.reply_ids[place], support or None)


def _scores(
    network: torch.nn.Module,
    trees: Sequence[ReplyTree],
    states: Tensor | None,
    targets: Sequence[_Target],
    *,
    sampling: Sampling,
) -> _Scores:
    """Scores of each target, in the order of their rows, by the states of all contexts. Shapes (targets,)."""
    if states is None:
        return _scores_of(context_logits(network, trees, "padded"), targets, sampling)
    rows = sorted({target.row for target in targets})
    if len(rows) < len(states):  # contexts without a target need no logits
        places = {row: place for place, row in enumerate(rows)}
        states, targets = states[rows], [t._replace(row=places[t.row]) for t in targets]
    head: Any = causal_network(network).get_output_embeddings()
    at_once = max(1, LOGITS_AT_ONCE // len(head.weight))
    parts = [targets[n : n + at_once] for n in range(0, len(targets), at_once)]
    if len(parts) == 1:
        return _scores_of(head_logits(network, states), targets, sampling)
    scores = [_recomputed(_scorer(network, part, sampling), states) for part in parts]
    logprobs, entropies = zip(*scores, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _scorer(
    network: torch.nn.Module, targets: Sequence[_Target], sampling: Sampling
) -> Callable[[Tensor], _Scores]:
    """From the states of all contexts to the scores of some targets, by the logits of their contexts alone."""
    first, last = targets[0].row, targets[-1].row
    moved = [target._replace(row=target.row - first) for target in targets]

    def scores(states: Tensor) -> _Scores:
        return _scores_of(head_logits(network, states[first : last + 1]), moved, sampling)

    return scores


def _recomputed(scores: Callable[[Tensor], _Scores], states: Tensor) -> _Scores:
    """Scores whose logits are dropped, and computed again when gradients flow back."""
    if not torch.is_grad_enabled():
        return scores(states)
    recomputed: _Scores = checkpoint(scores, states, use_reentrant=False)
    return recomputed


def _scores_of(logits: Tensor, targets: Sequence[_Target], sampling: Sampling) -> _Scores:
    """Scores of each target under the distribution that was sampled from. Shapes (targets,)."""
    scaled = logits / sampling.temperature
    rows = torch.tensor([target.row for target in targets], device=logits.device)
    tokens = torch.tensor([target.token for target in targets], device=logits.device)
    if all(target.support is None for target in targets):
        whole: Any = _WholeSupport
        logprobs, entropies = whole.apply(scaled, rows, tokens)
        return logprobs, entropies[rows]
    vocabulary = scaled.shape[-1]
    everything = tuple(range(vocabulary))
    kept = support_mask([target.support or everything for target in targets], vocabulary)
    dist = torch.log_softmax(scaled[rows].masked_fill(~kept.to(logits.device), -torch.inf), dim=-1)
    return dist.gather(-1, tokens[:, None])[:, 0], entropy(dist)


class _WholeSupport(torch.autograd.Function):
    """Log-probabilities of tokens and entropies of distributions, with few copies of the logits of a large vocabulary.

    With p = softmax(s): d log p_a / d s_v = [v = a] - p_v, and d H / d s_v = -p_v (log p_v + H).
    """

    @staticmethod
    def forward(ctx: Any, logits_C_V: Tensor, rows: Tensor, tokens: Tensor) -> _Scores:
        """Logits, and the row and token of each target, to shapes (targets,) and (C,)."""
        dist_C_V = torch.log_softmax(logits_C_V, dim=-1)
        logprobs = dist_C_V[rows, tokens]
        parts = dist_C_V.exp().mul_(dist_C_V)
        entropies_C = -torch.where(dist_C_V.isneginf(), 0.0, parts).sum(-1)
        ctx.save_for_backward(dist_C_V, entropies_C, rows, tokens)
        return logprobs, entropies_C

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the logits."""
        dist_C_V, entropies_C, rows, tokens = ctx.saved_tensors
        of_logprobs, of_entropies_C = grads
        sums_C = torch.zeros_like(entropies_C).index_add_(0, rows, of_logprobs)
        factors = -sums_C[:, None]
        if bool(of_entropies_C.any()):  # below e^-10000 a probability is 0
            surprisal_C_V = dist_C_V.clamp(min=-1e4)
            surprisal_C_V.add_(entropies_C[:, None]).mul_(of_entropies_C[:, None])
            factors = surprisal_C_V.neg_().add_(factors)
        grad_C_V = dist_C_V.exp().mul_(factors)
        grad_C_V.index_put_((rows, tokens), of_logprobs, accumulate=True)
        return grad_C_V, None, None

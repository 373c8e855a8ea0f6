"""Any causal language model of the transformers library, by name or from a local folder.

Sampling computes each distinct (prompt, reply so far) once: episodes that ask the same question share its prefill,
and go on together as long as they draw the same tokens. Learning computes logits at reply positions only, and shares
prompts and common beginnings of replies likewise (``lap.contexts``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicCache
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from lap.contexts import (
    ReplyTree,
    context_logits,
    left_padded,
    positions,
    right_padded,
    supports_trees,
)
from lap.encoding import PromptEncoder
from lap.model import Decided, TokenLogprobs
from lap.prompts import Prompt
from lap.sampling import Sampling, entropy, pick_tokens, support_mask, token_logprobs
from tsmg import Call, ModelError, Stream


@final
class TransformersModel:
    """A causal language model and its tokenizer.

    Args:
      network: an ``AutoModelForCausalLM``.
      tokenizer: its fast tokenizer.
      model_id: what the records call it.
      chat: whether prompts go through the tokenizer's chat template; ``None``: if there is one.

    Raises:
      ModelError: a chat template is asked for and there is none, or the tokenizer has more tokens than the model.
    """

    def __init__(
        self, network: Any, tokenizer: Any, *, model_id: str = "", chat: bool | None = None
    ) -> None:
        rows = network.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} tokens, the model only {rows}: "
                "they do not belong together"
            )
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.encoder = PromptEncoder(tokenizer, chat=chat)
        self.model_id = model_id or str(getattr(network.config, "name_or_path", ""))
        self.weights_version = 0
        self._as_trees: bool | None = None  # found out at the first use
        self._ends = _end_ids(network, tokenizer)

    @property
    def chat(self) -> bool:
        """Whether prompts go through the chat template."""
        return self.encoder.chat

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @property
    def context_length(self) -> int | None:
        """How many tokens prompt and reply may have together, if the model says so."""
        length: int | None = getattr(self.network.config, "max_position_embeddings", None)
        return length

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, chat: bool | None = None, dtype: torch.dtype = torch.float32
    ) -> "TransformersModel":
        """Load a checkpoint (safetensors; no remote code) by name or from a local folder.

        Raises:
          ModelError: there is no such checkpoint, or it cannot be loaded.
        """
        try:
            tokenizer = _load_tokenizer(str(name))
            network = AutoModelForCausalLM.from_pretrained(
                str(name), dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"cannot load a model from {str(name)!r}: {reason}") from error
        return cls(network, tokenizer, model_id=str(name), chat=chat)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights (safetensors), configuration and tokenizer as an ordinary checkpoint."""
        self.network.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        decided: Decided | None = None,
    ) -> list[Call]:
        """One reply per prompt, in one batch.

        Raises:
          ModelError: a prompt leaves no room for a reply in the model's context, or the logits are not finite.
        """
        encoded = [self.encoder.encode(prompt) for prompt in prompts]
        self._check_room(encoded, sampling)
        state = _Decoding(self, [ids for ids, _ in encoded])
        replies = [_Reply(rng) for rng in rngs]
        nodes = list(state.node_of_prompt)
        active = list(range(len(prompts)))
        for position in range(sampling.max_reply_tokens):
            law = token_logprobs(state.logits, sampling)
            rows = torch.tensor([nodes[b] for b in active], device=law.device)
            tokens = pick_tokens(law[rows], [replies[b].rng.at(position) for b in active])
            logprobs = law[rows, tokens].tolist()
            kept = _supports(law, rows) if sampling.truncates else [()] * len(active)
            for b, token, logprob, support in zip(
                active, tokens.tolist(), logprobs, kept, strict=True
            ):
                replies[b].add(token, logprob, support)
                replies[b].text = self.text(replies[b].ids)
                ended = self.is_end(token)
                replies[b].finished = ended or bool(decided and decided(replies[b].text))
            active = [b for b in active if not replies[b].finished]
            if not active or position + 1 == sampling.max_reply_tokens:
                break
            children = [(nodes[b], replies[b].ids[-1]) for b in active]
            for b, node in zip(active, state.extend(children), strict=True):
                nodes[b] = node
        return [
            self._record(
                ids_text,
                reply.ids,
                reply.logprobs,
                reply.support if sampling.truncates else None,
                text=reply.text,
                finished=reply.finished,
            )
            for ids_text, reply in zip(encoded, replies, strict=True)
        ]

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        """Log-probabilities of the next token after each beginning of a reply. Shape (P, V), float32."""
        ids, _ = self.encoder.encode(prompt)
        begun = [tuple(prefix) for prefix in prefixes]
        logits, row_of = self.context_logits([ReplyTree.upto(ids, begun)])
        return token_logprobs(logits[[row_of[ids, prefix] for prefix in begun]], sampling)

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return token in self._ends

    def text(self, ids: Sequence[int]) -> str:
        """The string that token ids stand for; the end token stands for nothing."""
        return self.encoder.decode(tuple(i for i in ids if i not in self._ends))

    def record(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None = None,
        *,
        finished: bool = True,
    ) -> Call:
        """The record of a reply."""
        encoded = self.encoder.encode(prompt)
        return self._record(encoded, ids, logprobs, support, text=self.text(ids), finished=finished)

    def _record(
        self,
        encoded: tuple[tuple[int, ...], str],
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None,
        *,
        text: str,
        finished: bool,
    ) -> Call:
        prompt_ids, prompt_text = encoded
        return Call(
            prompt_ids=prompt_ids,
            reply_ids=tuple(ids),
            trainable=(True,) * len(ids),
            logprobs=tuple(logprobs),
            support=None if support is None else tuple(support),
            finished=finished,
            prompt_text=prompt_text,
            reply_text=text,
            model_id=self.model_id,
            weights_version=self.weights_version,
        )

    def _check_room(
        self, encoded: Sequence[tuple[tuple[int, ...], str]], sampling: Sampling
    ) -> None:
        longest = max((len(ids) for ids, _ in encoded), default=1)
        if longest == 0 or any(not ids for ids, _ in encoded):
            raise ModelError("a prompt is empty: the model needs at least one token to go on from")
        if self.context_length and longest + sampling.max_reply_tokens > self.context_length:
            raise ModelError(
                f"a prompt of {longest} tokens and a reply of up to {sampling.max_reply_tokens} do not "
                f"fit the model's context of {self.context_length}"
            )

    def logprobs(self, calls: Sequence[Call], *, sampling: Sampling) -> TokenLogprobs:
        """Log-probabilities of recorded replies under the present weights; each context is computed once.

        Raises:
          ModelError: the sampling is greedy.
        """
        if sampling.is_greedy:
            raise ModelError("temperature 0 is for evaluation only: a point mass has no score")
        trees: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for call in calls:
            trees.setdefault(call.prompt_ids, []).append(call.reply_ids)
        logits, row_of = self.context_logits(
            [ReplyTree.of(prompt, replies) for prompt, replies in trees.items()]
        )
        width = max((len(call.reply_ids) for call in calls), default=0)
        chosen: dict[_Choice, int] = {}
        index = [
            [chosen.setdefault(choice, len(chosen)) for choice in _choices(call, row_of)]
            for call in calls
        ]
        logprobs, entropies = _scores(logits, list(chosen), sampling)
        gather = right_padded(index, width).to(logits.device)
        real = right_padded([[1] * len(row) for row in index], width).bool().to(logits.device)
        mask = right_padded([call.trainable for call in calls], width).bool().to(logits.device)
        return TokenLogprobs(
            logprobs_B_L=torch.where(real, logprobs[gather], 0.0),
            entropies_B_L=torch.where(real, entropies[gather], 0.0),
            mask_B_L=mask,
        )

    def written(self, prompt: Prompt, reply: str, *, decided: Decided | None = None) -> Call:
        """The call by which a given reply would be recorded, in the tokenizer's own tokens."""
        ids, text = self.encoder.encode(prompt)
        reply_ids = self.encoder.untrusted(reply)
        if not (decided and decided(reply)):
            reply_ids.append(self.tokenizer.eos_token_id)
        return self._record(
            (ids, text), reply_ids, (0.0,) * len(reply_ids), None, text=reply, finished=True
        )

    def context_logits(
        self, trees: Sequence[ReplyTree]
    ) -> tuple[Tensor, dict[tuple[tuple[int, ...], tuple[int, ...]], int]]:
        """Differentiable next-token logits at every (prompt, beginning of a reply), each computed once.

        Returns:
          The logits, shape (contexts, V), float32; and the row of each (prompt ids, reply ids so far).
        """
        if self._as_trees is None:
            self._as_trees = supports_trees(self.network, trees[0].prompt)
        logits = context_logits(self.network, trees, as_trees=self._as_trees)
        contexts = [(tree.prompt, prefix) for tree in trees for prefix in tree.prefixes]
        return logits, {context: row for row, context in enumerate(contexts)}


# A token that was chosen: the row of its context, the token, and the support that it was chosen from.
_Choice = tuple[int, int, tuple[int, ...] | None]


def _choices(
    call: Call, row_of: Mapping[tuple[tuple[int, ...], tuple[int, ...]], int]
) -> list[_Choice]:
    support = call.support or (None,) * len(call.reply_ids)
    return [
        (row_of[call.prompt_ids, call.reply_ids[:n]], token, support[n])
        for n, token in enumerate(call.reply_ids)
    ]


def _scores(
    logits: Tensor, choices: Sequence[_Choice], sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy for each choice, under the law that was sampled from."""
    scaled = logits / sampling.temperature
    rows = torch.tensor([row for row, _, _ in choices], device=logits.device)
    tokens = torch.tensor([token for _, token, _ in choices], device=logits.device)
    if all(support is None for _, _, support in choices):
        law = torch.log_softmax(scaled, dim=-1)
        return law[rows, tokens], entropy(law)[rows]
    vocabulary = scaled.shape[-1]
    whole = tuple(range(vocabulary))
    kept = support_mask([support or whole for _, _, support in choices], vocabulary)
    law = torch.log_softmax(scaled[rows].masked_fill(~kept.to(logits.device), -torch.inf), dim=-1)
    return law.gather(-1, tokens[:, None])[:, 0], entropy(law)


def _load_tokenizer(name: str) -> Any:
    """The tokenizer as the checkpoint declares it.

    ``AutoTokenizer`` goes by the model's architecture where a checkpoint declares the generic class, and then replaces
    the tokenizer's own rules of splitting by the architecture's.
    """
    declared = get_tokenizer_config(name).get("tokenizer_class")
    generic = declared in ("PreTrainedTokenizerFast", "TokenizersBackend")
    loader = PreTrainedTokenizerFast if generic else AutoTokenizer
    return loader.from_pretrained(name, trust_remote_code=False)


@final
class _Reply:
    """One reply while it grows."""

    __slots__ = ("finished", "ids", "logprobs", "rng", "support", "text")

    def __init__(self, rng: Stream) -> None:
        self.rng = rng
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.support: list[tuple[int, ...]] = []
        self.text = ""
        self.finished = False

    def add(self, token: int, logprob: float, support: tuple[int, ...]) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.support.append(support)


@final
class _Decoding:
    """A key-value cache over the distinct (prompt, reply so far); each is one node, one row."""

    def __init__(self, model: TransformersModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self.model = model
        distinct: dict[tuple[int, ...], int] = {}
        self.node_of_prompt = [distinct.setdefault(ids, len(distinct)) for ids in prompts]
        input_ids, real = left_padded(list(distinct))
        self.attention = real.long().to(model.device)
        self.cache: Any = DynamicCache(config=model.network.config)
        self.logits = self._forward(input_ids.to(model.device), positions(self.attention))

    def extend(self, children: Sequence[tuple[int, int]]) -> list[int]:
        """Append a token to nodes; returns each child's node, equal children merged."""
        distinct: dict[tuple[int, int], int] = {}
        index = [distinct.setdefault(child, len(distinct)) for child in children]
        parents = torch.tensor([node for node, _ in distinct], device=self.model.device)
        tokens = torch.tensor([[token] for _, token in distinct], device=self.model.device)
        self.cache.batch_select_indices(parents)
        grown = self.attention[parents]
        self.attention = torch.cat([grown, torch.ones_like(grown[:, :1])], dim=1)
        self.logits = self._forward(tokens, positions(self.attention)[:, -1:])
        return index

    def _forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        logits: Tensor = self.model.network(
            input_ids=input_ids,
            attention_mask=self.attention,
            position_ids=position_ids,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if not bool(torch.isfinite(logits).all()):
            raise ModelError(f"the logits of {self.model.model_id!r} are not finite")
        return logits.float()


def _end_ids(network: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a reply: those of the generation settings and of the tokenizer."""
    declared = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    ends = declared if isinstance(declared, list) else [declared]
    return frozenset(i for i in (*ends, tokenizer.eos_token_id) if i is not None)


def _supports(law: Tensor, rows: Tensor) -> list[tuple[int, ...]]:
    kept = {
        node: tuple(law[node].isfinite().nonzero()[:, 0].tolist()) for node in set(rows.tolist())
    }
    return [kept[node] for node in rows.tolist()]

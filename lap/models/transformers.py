"""Any causal language model of the transformers library, by name or from a local folder.

Sampling computes each distinct (prompt, reply so far) once: episodes that ask the same question share its prefill,
and go on together as long as they draw the same tokens (``lap.engine.decoding``). Learning computes logits at reply
positions only, and shares prompts and common prefixes of replies likewise (``lap.engine.scoring``).
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from lap.encoding import PromptEncoder
from lap.engine.decoding import LOGIT_CACHE_BYTES, LogitCache, ReplyState, decode
from lap.engine.hidden_states import Layout, causal_network, context_logits, find_layout
from lap.engine.prefix_tree import Context, Ids, ReplyTree, contexts_of
from lap.engine.sampling import Sampling, TokenLogprobs, token_logprobs
from lap.engine.scoring import score
from lap.errors import ModelError
from lap.lora import (
    AdaptersOff,
    LoraSettings,
    adapters_at_start,
    add_adapters,
    has_adapters,
    is_adapter,
    merged,
    save_adapters,
    weights_in_use,
)
from lap.model import (
    CachingModel,
    EnumerableModel,
    SavableModel,
    ShardableModel,
    StopCriterion,
    TrainableModel,
    named_tensors,
    tensors_digest,
)
from lap.models.base_checkpoint import base_of
from lap.models.loading import end_ids, load_checkpoint, loading
from lap.models.recomputation import enable_recomputation, recomputing
from lap.prompts import Prompt
from tsmg import Completion, Stream

_ANY_PROMPT = tuple(range(8))  # token ids that every vocabulary has


@final
class TransformersModel(
    TrainableModel, CachingModel, EnumerableModel, SavableModel, ShardableModel
):
    """A causal language model and its tokenizer.

    Args:
      network: an ``AutoModelForCausalLM``.
      tokenizer: its fast tokenizer.
      model_id: what the records call it.
      chat: whether prompts go through the tokenizer's chat template; ``None``: if there is one.
      thinking: what the chat template is told of thinking aloud; ``None`` tells it nothing.
      token_budget: how many tokens enter the cache at once while replies are sampled; other prompts wait. Replies to
        one prompt that part have a row each, which this does not bound.
      autocast: a type to compute in, where the weights keep theirs (bfloat16, with weights in float32).

    Raises:
      ModelError: a chat template is asked for and there is none, or the tokenizer has more tokens than the model.
    """

    backend = "transformers"
    network: Any

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        model_id: str = "",
        chat: bool | None = None,
        thinking: bool | None = None,
        token_budget: int = 32_768,
        autocast: torch.dtype | None = None,
    ) -> None:
        rows = network.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} tokens, the model only {rows}: "
                "they do not belong together"
            )
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.encoder = PromptEncoder(tokenizer, chat=chat, thinking=thinking)
        self.model_id = model_id or str(getattr(network.config, "name_or_path", ""))
        self.weights_version = 0
        self.token_budget = token_budget
        self.autocast = autocast
        self.recomputes = False
        self.one_pass = False  # through the layers, to score a batch
        self.layout: Layout | None = None  # found out at the first use
        self.memory: LogitCache | None = None
        self.base = base_of(network)  # what its adapters belong to
        self._ends = end_ids(network, tokenizer)
        self._end = tokenizer.eos_token_id
        if self._end is None:
            self._end = min(self._ends, default=None)

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
        config = causal_network(self.network).config
        length: int | None = getattr(config, "max_position_embeddings", None)
        return length

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are learnt in place of the weights."""
        return has_adapters(self.network)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        chat: bool | None = None,
        thinking: bool | None = None,
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
    ) -> "TransformersModel":
        """Load a checkpoint (safetensors; no remote code) by name or from a local folder, or adapters and their base.

        A GGUF file is de-quantised to ``dtype``, and is an ordinary checkpoint from then on.

        Raises:
          ModelError: it is not there or cannot be loaded, or another checkpoint is in the place of the adapters' base.
        """
        with loading(name):
            network, tokenizer = load_checkpoint(name, dtype=dtype)
            return cls(
                network,
                tokenizer,
                model_id=str(name),
                chat=chat,
                thinking=thinking,
                autocast=autocast,
            )

    def reference_model(self) -> Self:
        if not self.has_adapters:
            return self.frozen_copy()
        return self._of(adapters_at_start(self.network).eval())

    def learned_tensors(self) -> dict[str, Tensor]:
        tensors = named_tensors(self.network)
        return {name: t for name, t in tensors.items() if is_adapter(name)} or tensors

    def digest(self) -> str:
        return tensors_digest(weights_in_use(self.network, named_tensors(self.network)))

    def reply_length(self, reply: str) -> int:
        return len(self.encoder.untrusted(reply))

    def check_prompts(self, prompts: Sequence[Prompt], *, sampling: Sampling) -> None:
        self.encoder.encode_within(prompts, self.context_length, sampling.max_reply_tokens)

    def layers(self) -> list[torch.nn.Module]:
        modules = self.network.modules()
        return [module for module in modules if isinstance(module, GradientCheckpointingLayer)]

    def use_one_pass(self) -> None:
        self.one_pass = True
        self.resolved_layout(_ANY_PROMPT)  # resolving takes passes, whose number may vary

    @classmethod
    def load(cls, folder: str | Path, settings: Mapping[str, Any], **loading: Any) -> Self:
        """Load a checkpoint with settings that ``loading_settings`` gave."""
        chat, thinking = settings["chat"], settings.get("thinking")
        return cls.from_pretrained(folder, chat=chat, thinking=thinking, **loading)

    def loading_settings(self) -> Mapping[str, object]:
        return {"chat": self.chat, "thinking": self.encoder.thinking}

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save weights (safetensors), configuration and tokenizer: an ordinary checkpoint, or the adapters alone."""
        if self.has_adapters:
            save_adapters(self.network, folder, weights=weights)
            self.base.save(folder)
        else:
            self.network.save_pretrained(str(folder), state_dict=weights)
        self.tokenizer.save_pretrained(str(folder))

    def with_lora(self, settings: LoraSettings | None = None, *, seed: int = 0) -> Self:
        """The model with fresh adapters, which alone are learnt; its weights are frozen, and are the same objects.

        Args:
          settings: the adapters' shape.
          seed: of their initial values.

        Raises:
          ModelError: peft is not installed, there are adapters already, or no layer has one of the names.
        """
        if self.has_adapters:
            raise ModelError(f"{self.model_id!r} has adapters already; merge them first")
        adapted = add_adapters(self.network, settings or LoraSettings(), seed=seed).eval()
        return self._of(adapted, base=base_of(adapted))

    def without_adapters(self) -> Self:
        """The model as it was before it got adapters. It shares the weights, and follows none that is learnt."""
        return self._of(AdaptersOff(self.network).eval())

    def merged(self) -> Self:
        """The model with its adapters folded into the weights, an ordinary checkpoint. The adapted one is used up."""
        whole = merged(self.network)
        return self._of(whole, base=base_of(whole))

    def with_recomputation(self) -> Self:
        """The same model that keeps few activations while it learns, and computes them again (gradient checkpointing).

        Raises:
          ModelError: the network does not support it.
        """
        enable_recomputation(self.network, self.model_id)
        return self._of(self.network, recomputes=True)

    def compiled(self) -> Self:
        """The same model with its layers compiled (``torch.compile``), at first use and for any length."""
        for layer in self.layers():
            layer.compile(dynamic=True)
        return self._of(self.network)

    def __getstate__(self) -> dict[str, Any]:
        """The model without what it remembers: copies and pickles begin to remember anew."""
        memory = None if self.memory is None else LogitCache(LOGIT_CACHE_BYTES)
        return {**self.__dict__, "memory": memory}

    def _of(self, network: Any, **changes: object) -> Self:
        model = copy.copy(self)
        vars(model).update(network=network, **changes)
        return model

    @contextlib.contextmanager
    def _computing(self, *, learning: bool) -> Iterator[None]:
        """Within the block, in the type to compute in; if it learns, with activations computed again where wanted."""
        layers = self.layers() if learning and self.recomputes else []
        enabled = self.autocast is not None
        autocast = torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled)
        with recomputing(layers), autocast:
            yield

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        limits = (self.context_length, sampling.max_reply_tokens)
        encoded = self.encoder.encode_within(prompts, *limits)
        replies = [ReplyState(ids, rng) for (ids, _), rng in zip(encoded, rngs, strict=True)]

        def decode_reply(ids: Ids) -> tuple[str, bool]:
            text = self.text(ids)
            return text, self.is_end(ids[-1]) or bool(stop_criterion and stop_criterion(text))

        with self._computing(learning=False):
            decode(
                self.network,
                replies,
                sampling=sampling,
                decode_reply=decode_reply,
                budget=self.token_budget,
                logit_cache=self.memory or LogitCache(0),
                tree_attention=bool(encoded and self.memory)
                and self.resolved_layout(encoded[0][0]) == "tree_attention",
            )
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

    def with_logit_cache(self) -> Self:
        # small games come by the same observations again and again
        view = copy.copy(self)
        view.memory = LogitCache(LOGIT_CACHE_BYTES)
        return view

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        ids, _ = self.encoder.encode(prompt)
        begun = [tuple(prefix) for prefix in prefixes]
        logits, row_of = self.context_logits([ReplyTree.of_prefixes(ids, begun)])
        return token_logprobs(logits[[row_of[ids, prefix] for prefix in begun]], sampling)

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def text(self, ids: Sequence[int]) -> str:
        return self.encoder.decode(tuple(i for i in ids if i not in self._ends))

    def record(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None = None,
        *,
        finished: bool = True,
    ) -> Completion:
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
    ) -> Completion:
        prompt_ids, prompt_text = encoded
        return Completion(
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

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        if sampling.is_greedy:
            raise ModelError("temperature 0 is for evaluation only: a point mass has no score")
        layout = self.resolved_layout(completions[0].prompt_ids)
        with self._computing(learning=torch.is_grad_enabled()):
            return score(
                self.network, completions, layout=layout, sampling=sampling, one_pass=self.one_pass
            )

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        ids, text = self.encoder.encode(prompt)
        reply_ids = self.encoder.untrusted(reply)
        if not (stop_criterion and stop_criterion(reply)):
            if self._end is None:
                raise ModelError(f"{self.model_id!r} names no end token, so no reply of it can end")
            reply_ids.append(self._end)
        return self._record(
            (ids, text), reply_ids, (0.0,) * len(reply_ids), None, text=reply, finished=True
        )

    def context_logits(self, trees: Sequence[ReplyTree]) -> tuple[Tensor, dict[Context, int]]:
        """Differentiable next-token logits at every (prompt, prefix of a reply), each computed once.

        Returns:
          The logits, shape (contexts, V), float32; and the row of each (prompt ids, reply ids so far).
        """
        layout = self.resolved_layout(trees[0].prompt)
        with self._computing(learning=torch.is_grad_enabled()):
            logits = context_logits(self.network, trees, layout)
        return logits, {context: row for row, context in enumerate(contexts_of(trees))}

    def resolved_layout(self, prompt: Ids) -> Layout:
        """How contexts are computed for this network, found out by a few passes over the first prompt."""
        if self.layout is None:
            self.layout = find_layout(self.network, prompt)
        return self.layout

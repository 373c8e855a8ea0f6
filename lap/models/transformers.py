"""Any causal language model of the transformers library, by name or from a local folder.

Sampling computes each distinct (prompt, reply so far) once: episodes that ask the same question share its prefill,
and go on together as long as they draw the same tokens (``lap.engine.decoding``). Learning computes logits at reply
positions only, and shares prompts and common prefixes of replies likewise (``lap.engine.scoring``).
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, final

import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from lap.encoding import PromptEncoder
from lap.engine.cache import CacheUse, find_cache_use
from lap.engine.decoding import LogitCaches, ReplyState, decode, logit_caches
from lap.engine.hidden_states import Layout, any_prompt, causal_network, context_logits, find_layout
from lap.engine.prefix_tree import Context, Ids, ReplyTree, contexts_of
from lap.engine.sampling import Sampling, TokenLogprobs, token_logprobs
from lap.engine.scoring import score, state_width
from lap.errors import ModelError
from lap.given import rest_of, sampled_flags, with_given_tokens
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
    PrefillingModel,
    SavableModel,
    ShardableModel,
    StopCriterion,
    TrainableModel,
    named_tensors,
    tensors_digest,
)
from lap.models.base_checkpoint import base_of
from lap.models.loading import end_ids, load_checkpoint, loading
from lap.models.recomputation import computing, enable_recomputation
from lap.prompts import Prompt
from tsmg import Completion, Stream


@final
class TransformersModel(
    TrainableModel, PrefillingModel, CachingModel, EnumerableModel, SavableModel, ShardableModel
):
    """A causal language model and its tokenizer.

    Args:
      network: an ``AutoModelForCausalLM``.
      tokenizer: its fast tokenizer.
      model_id: what the records call it.
      chat: whether prompts go through the tokenizer's chat template; ``None`` uses it if there is one.
      thinking: the chat template's setting for thinking aloud; ``None`` leaves it unset.
      token_budget: how many tokens enter the cache at once while replies are sampled; other prompts wait. Replies to
        one prompt that part have a row each, which this does not bound.
      autocast: a type to compute in, while the weights keep theirs (bfloat16, with weights in float32).

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
                f"the tokenizer has {len(tokenizer)} tokens, but the model only {rows}: they do not belong together"
            )
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.encoder = PromptEncoder(tokenizer, chat=chat, thinking=thinking)
        self.model_id = model_id or str(getattr(network.config, "name_or_path", ""))
        self.weights_version = 0
        self.token_budget, self.autocast = token_budget, autocast
        self.recomputes = self.one_pass = False  # one_pass: through the layers, to score
        self.layout: Layout | None = None  # found out at the first use, as is the next
        self.cache_use: CacheUse | None = None
        self.memories: LogitCaches | None = None
        self.base = base_of(network)  # what its adapters belong to
        self._ends = end_ids(network, tokenizer)
        end: int | None = tokenizer.eos_token_id
        self._end = min(self._ends, default=None) if end is None else end

    @property
    def chat(self) -> bool:
        """Whether prompts go through the chat template."""
        return self.encoder.chat

    @property
    def context_length(self) -> int | None:
        """How many tokens prompt and reply may have together, if the model says so."""
        config = causal_network(self.network).config
        length: int | None = getattr(config, "max_position_embeddings", None)
        return length

    @property
    def compute_dtype(self) -> torch.dtype:
        return self.autocast or super().compute_dtype

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
            made = functools.partial(cls, *load_checkpoint(name, dtype=dtype), model_id=str(name))
            return made(chat=chat, thinking=thinking, autocast=autocast)

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
        self.resolved_cache_use()

    def layers(self) -> list[torch.nn.Module]:
        return [m for m in self.network.modules() if isinstance(m, GradientCheckpointingLayer)]

    def use_one_pass(self) -> None:
        self.one_pass = True
        self.resolved_cache_use()  # resolving takes passes, whose number may vary

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
        """The model with new adapters, the only weights that are trained; its own are frozen, and are the same objects.

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
        """The model as it was before it got adapters. It shares the weights, but none that is trained."""
        return self._of(AdaptersOff(self.network).eval())

    def merged(self) -> Self:
        """The model with its adapters folded into the weights. The adapted model must not be used any more."""
        whole = merged(self.network)
        return self._of(whole, base=base_of(whole))

    def with_recomputation(self) -> Self:
        """The same model with gradient checkpointing: it keeps few activations and recomputes the others.

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
        memories = None if self.memories is None else logit_caches()
        return {**self.__dict__, "memories": memories}

    def _of(self, network: Any, **changes: object) -> Self:
        model = copy.copy(self)
        vars(model).update(network=network, **changes)
        return model

    def _computing(self, *, learning: bool) -> AbstractContextManager[None]:
        """Within the block, in the type to compute in; if it learns, with activations computed again where wanted."""
        layers = self.layers() if learning and self.recomputes else []
        return computing(self.network, autocast=self.autocast, recomputed=layers)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        encoded = self.encoder.encode_within(
            prompts, self.context_length, sampling.max_reply_tokens
        )
        given = [self.given_ids(prompt) for prompt in prompts]
        rows = zip(encoded, given, rngs, strict=True)  # given tokens are the engine's prompt, too
        replies = [ReplyState((*ids, *begun), rng) for (ids, _), begun, rng in rows]

        def decode_reply(begun: Ids, ids: Ids) -> tuple[str, bool]:
            text = self.text((*begun, *ids))
            return text, self.is_end(ids[-1]) or bool(stop_criterion and stop_criterion(text))

        memories = logit_caches(0) if self.memories is None else self.memories
        with self._computing(learning=False):
            for begun in dict.fromkeys(given):
                decode(
                    self.network,
                    [reply for reply, own in zip(replies, given, strict=True) if own == begun],
                    sampling=sampling,
                    decode_reply=functools.partial(decode_reply, begun),
                    budget=self.token_budget,
                    logit_cache=memories[begun, stop_criterion],
                    layout=self.resolved_layout(),
                    cache_use=self.resolved_cache_use(),
                )
        return [
            self.record(
                prompt,
                (*begun, *reply.ids),
                (*(0.0,) * len(begun), *reply.logprobs),
                (*((i,) for i in begun), *reply.support) if sampling.truncates else None,
                text=reply.text,
                finished=reply.finished,
            )
            for prompt, begun, reply in zip(prompts, given, replies, strict=True)
        ]

    def given_ids(self, prompt: Prompt) -> Ids:
        return self.encoder.given_ids(prompt.prefill)

    def with_logit_cache(self) -> Self:
        self.resolved_cache_use()
        view = copy.copy(self)
        view.memories = logit_caches()  # small games come by the same prompts again
        return view

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        ids, _ = self.encoder.encode(prompt)
        begun = [tuple(prefix) for prefix in prefixes]
        logits, row_of = self.context_logits([ReplyTree.of_prefixes(ids, begun)])
        free_P_V = token_logprobs(logits[[row_of[ids, prefix] for prefix in begun]], sampling)
        return with_given_tokens(free_P_V, self.given_ids(prompt), begun)

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
        text: str | None = None,
    ) -> Completion:
        prompt_ids, prompt_text = self.encoder.encode(prompt)
        return Completion(
            prompt_ids=prompt_ids,
            reply_ids=tuple(ids),
            trainable=sampled_flags(self.given_ids(prompt), ids),
            logprobs=tuple(logprobs),
            support=None if support is None else tuple(support),
            finished=finished,
            prompt_text=prompt_text,
            reply_text=self.text(ids) if text is None else text,
            model_id=self.model_id,
            weights_version=self.weights_version,
        )

    @property
    def state_width(self) -> int:
        """The number of features of a last hidden state."""
        return state_width(self.network, self.resolved_layout())

    def logprobs(
        self,
        completions: Sequence[Completion],
        *,
        sampling: Sampling,
        value_head: torch.nn.Module | None = None,
    ) -> TokenLogprobs:
        layout = self.resolved_layout()
        with self._computing(learning=torch.is_grad_enabled()):
            return score(
                self.network,
                completions,
                layout=layout,
                sampling=sampling,
                one_pass=self.one_pass,
                value_head=value_head,
            )

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        reply_ids = [*self.given_ids(prompt), *self.encoder.untrusted(rest_of(reply, prompt))]
        if not (stop_criterion and stop_criterion(reply)):
            if self._end is None:
                raise ModelError(f"{self.model_id!r} names no end token, so its replies cannot end")
            reply_ids.append(self._end)
        return self.record(prompt, reply_ids, (0.0,) * len(reply_ids), text=reply)

    def context_logits(self, trees: Sequence[ReplyTree]) -> tuple[Tensor, dict[Context, int]]:
        """Differentiable next-token logits at every (prompt, prefix of a reply), each computed once.

        Returns:
          The logits, shape (contexts, V), float32; and the row of each (prompt ids, reply ids so far).
        """
        with self._computing(learning=torch.is_grad_enabled()):
            logits = context_logits(self.network, trees, self.resolved_layout())
        return logits, {context: row for row, context in enumerate(contexts_of(trees))}

    def resolved_layout(self) -> Layout:
        """How contexts are computed for this network, as a few passes determine."""
        self.layout = self.layout or find_layout(self.network, any_prompt(self.network))
        return self.layout

    def resolved_cache_use(self) -> CacheUse:
        """How this network's cache may be used, as a few passes determine."""
        if self.cache_use is None:
            self.cache_use = find_cache_use(
                self.network, any_prompt(self.network), self.resolved_layout()
            )
        return self.cache_use

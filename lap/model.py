"""M_theta, the language model of a policy, as protocols: what a backend offers in order to play, learn and be saved.

A backend implements what it can and need not inherit anything: ``LanguageModel`` is enough to play. A model that is to
be trained implements ``TrainableModel``; it may inherit that protocol, and then overrides only the defaults that do not
fit. The other protocols are capabilities that some models have; code that uses one checks for it with ``isinstance``.
``lap.testing.check_model`` checks a backend against all of this.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from lap.engine.sampling import Sampling, TokenLogprobs
from lap.prompts import Prompt
from tsmg import Completion, Stream

StopCriterion = Callable[[str], bool]


class LanguageModel(Protocol):
    """A model that replies to prompts and can say how likely its replies were.

    A prompt may contain the beginning of the reply (``Prompt.prefill``). A model that supports this is a
    ``PrefillingModel``.

    Attributes:
      model_id: the name of the model in records.
      weights_version: how many updates of a trainer its weights have seen.
    """

    model_id: str
    weights_version: int

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        """One reply per prompt; the l-th sampled token of row b is picked by ``rngs[b].at(l)`` alone.

        Args:
          prompts: the prompts, one per reply.
          rngs: one stream per prompt.
          sampling: the distribution to sample from.
          stop_criterion: tells whether a reply may stop, given its text so far.
        """
        ...

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """Log-probabilities of recorded replies under the present weights, differentiable.

        Raises:
          ModelError: the sampling is greedy (a point mass has no score).
        """
        ...


class TrainableModel(LanguageModel, Protocol):
    """A language model whose weights are learnt.

    ``network`` and ``written`` have no default. The defaults of the other methods are for a model whose parameters are
    all learnt, that keeps no state outside its network, and that does not limit the length of a prompt.

    Attributes:
      network: the module whose parameters with ``requires_grad`` are learnt.
    """

    network: torch.nn.Module

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        """The completion by which a given reply would be recorded, in the tokens that the model writes texts in.

        Its log-probabilities are not known, and are 0 in the record.

        Args:
          prompt: the prompt that the reply answers.
          reply: the text.
          stop_criterion: tells whether a reply may stop, given its text so far; otherwise it stops with an end token.

        Raises:
          ModelError: the model cannot produce the reply.
        """
        ...

    def reply_length(self, reply: str) -> int | None:
        """The number of tokens of a reply, without an end token; ``None`` if it is not known in advance."""
        return None

    def check_prompts(self, prompts: Sequence[Prompt], *, sampling: Sampling) -> None:
        """Refuse prompts that leave no room for the longest reply.

        Raises:
          ContextLengthError: one leaves too little; ``index`` says which.
        """
        return

    def frozen_copy(self) -> Self:
        """The model as it stands, independent of what its weights learn later."""
        model = copy.copy(self)
        model.network = copy.deepcopy(self.network).requires_grad_(False)
        return model

    def reference_model(self) -> Self:
        """The model as it stands, whatever was learnt before, to compare it with later.

        It may share weights that are not learnt from here on.
        """
        return self.frozen_copy()

    def learned_tensors(self) -> dict[str, Tensor]:
        """The tensors that change while the model learns, by name; not copied, and only one of tied tensors."""
        return named_tensors(self.network)

    def state_values(self) -> Mapping[str, object]:
        """Other state that changes while the model learns, as values that JSON can hold."""
        return {}

    def load_state_values(self, values: Mapping[str, object]) -> None:
        """Restore values that ``state_values`` returned; tensors are copied in afterwards.

        Raises:
          LookupError, TypeError, ValueError: they are malformed.
        """
        return

    @property
    def compute_dtype(self) -> torch.dtype:
        """The coarsest type that the network computes in, from which the rounding of its logits follows."""
        floats = [p.dtype for p in self.network.parameters() if p.is_floating_point()]
        return max(floats, key=lambda dtype: torch.finfo(dtype).eps)

    def digest(self) -> str:
        """A hash of all weights of a reference model."""
        return tensors_digest(named_tensors(self.network))


@runtime_checkable
class PrefillingModel(LanguageModel, Protocol):
    """A model that continues the given beginning of a reply.

    In its records, all replies to such a prompt begin with the same *given* tokens. They are not actions of the policy:
    ``trainable`` is False, their log-probability and entropy are 0 and, if supports are recorded, each is the only
    token in its support. What follows is encoded separately. The limit on the length of a reply counts sampled tokens
    only, and so does the number of a draw.
    """

    def given_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The tokens of ``prompt.prefill``, with which every reply to the prompt begins."""
        ...


@runtime_checkable
class CachingModel(LanguageModel, Protocol):
    """A model that need not compute a context twice while its weights do not change."""

    def with_logit_cache(self) -> Self:
        """A view of the model that caches what it computed; discard it before the weights change."""
        ...


@runtime_checkable
class SpellingModel(LanguageModel, Protocol):
    """A model that says what its tokens stand for."""

    def text(self, ids: Sequence[int]) -> str:
        """The string that token ids stand for."""
        ...


@runtime_checkable
class EnumerableModel(SpellingModel, Protocol):
    """A model whose replies can be enumerated, token by token."""

    def next_logprobs(
        self, prompt: Prompt, prefixes: Sequence[Sequence[int]], *, sampling: Sampling
    ) -> Tensor:
        """Log-probabilities of the next token after each beginning of a reply. Shape (P, V).

        If the next token is given, it has probability 1.
        """
        ...

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        ...

    def record(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Sequence[tuple[int, ...]] | None = None,
        *,
        finished: bool = True,
    ) -> Completion:
        """The record of a reply."""
        ...


@runtime_checkable
class SavableModel(LanguageModel, Protocol):
    """A model that is saved as a checkpoint.

    Attributes:
      backend: the name under which ``lap.policy.register_backend`` knows the loader of such checkpoints.
    """

    backend: str

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save the weights (safetensors) and whatever else the checkpoint needs.

        Args:
          folder: where to.
          weights: all of them by name, where the network holds parts of them.
        """
        ...

    def loading_settings(self) -> Mapping[str, object]:
        """What the loader needs besides the folder, as values that JSON can hold."""
        ...


@runtime_checkable
class PushingModel(Protocol):
    """A model that samples elsewhere than it learns: new weights are pushed there before the next reply.

    Attributes:
      pushed_version: of the weights that are played with; ``None`` before the first push.
    """

    pushed_version: int | None

    def push(self) -> float:
        """Push the current weights to where replies are sampled, and check that they are used there.

        Weights of one version are pushed once; a second call returns the earlier result.

        Returns:
          The greatest difference between the log-probabilities of fresh replies there and here, in nats.

        Raises:
          ModelError: the sampled policy is not the learnt one, or no server is left.
        """
        ...

    def take_notes(self) -> list[str]:
        """Messages for the user about what happened since the last call."""
        ...


@runtime_checkable
class ValuedModel(LanguageModel, Protocol):
    """A model whose last hidden states a value head can read while it scores."""

    @property
    def state_width(self) -> int:
        """The number of features of a state."""
        ...

    def logprobs(
        self,
        completions: Sequence[Completion],
        *,
        sampling: Sampling,
        value_head: torch.nn.Module | None = None,
    ) -> TokenLogprobs:
        """As that of every model; with a value head, also the value of the place before each token.

        Args:
          completions: the records.
          sampling: the distribution that their tokens were drawn from.
          value_head: from states in float32, shape (n, state_width), to values, shape (n, 1).
        """
        ...


@runtime_checkable
class ShardableModel(Protocol):
    """A model whose layers several processes can shard."""

    network: torch.nn.Module

    def layers(self) -> list[torch.nn.Module]:
        """The layers to shard; none if they cannot be identified."""
        ...

    def use_one_pass(self) -> None:
        """From now on, score any batch in one pass through the layers, so that all processes make as many passes."""
        ...


def named_tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers of a network by name; tied ones once, none copied."""
    persistent = network.state_dict().keys()
    buffers = {name: b for name, b in network.named_buffers() if name in persistent}
    return {**dict(network.named_parameters()), **buffers}


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of tensors: of their names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

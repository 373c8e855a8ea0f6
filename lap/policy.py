"""The Language-Agent Policy <F, M_theta, W>: prompt, model and parser, composed.

Source: arXiv:2508.10839 (the name and the three parts); the formulas are our reconstruction.
"""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, final, runtime_checkable

import attrs
from torch import Tensor

from lap.engine.sampling import Sampling
from lap.errors import ContextLengthError, ModelError
from lap.model import (
    CachingModel,
    EnumerableModel,
    LanguageModel,
    PrefillingModel,
    SavableModel,
    TrainableModel,
)
from lap.parsers import AbstractParser, TagParser, WholeReplyParser
from lap.prompts import AbstractPrompt, LastTurnsPrompt, MemorylessPrompt, Prompt
from lap.replies import reply_dist
from lap.subgoals import SubgoalParser
from tsmg import (
    AgentPolicy,
    Completion,
    Distribution,
    History,
    InvalidArgumentError,
    NotEnumerableError,
    Reply,
    Request,
)

M_co = TypeVar("M_co", bound=LanguageModel, covariant=True)
T = TypeVar("T", bound=TrainableModel)
Loader = Callable[..., TrainableModel]

POLICY_FILE = "policy.json"
_PROMPTS = {cls.__name__: cls for cls in (MemorylessPrompt, LastTurnsPrompt)}
_PARSERS = {cls.__name__: cls for cls in (TagParser, WholeReplyParser, SubgoalParser)}


_LOADERS: dict[
    str, Loader
] = {}  # by the backend's name; that of transformers is registered by ``lap`` itself


def register_backend(name: str, loader: Loader) -> None:
    """Let ``LanguageAgentPolicy.from_pretrained`` load the checkpoints of a backend.

    A file cannot name code to run: it names a backend, which a program has registered before, or which an installed
    package declares as an entry point of the group ``tsmg.backends``, so that commands find it, too.

    Args:
      name: the ``backend`` of the model.
      loader: called with the folder, the model's ``loading_settings`` as JSON gave them back, and the keyword arguments
        of ``from_pretrained``.
    """
    _LOADERS[name] = loader


def _loader(name: str, folder: str | Path) -> Loader:
    if name not in _LOADERS:
        for entry in importlib.metadata.entry_points(group="tsmg.backends", name=name):
            register_backend(name, entry.load())
    if name not in _LOADERS:
        raise ModelError(
            f"the policy in {str(folder)!r} belongs to the backend {name!r}, which is unknown: install the package "
            "that provides it, or register it (lap.register_backend)"
        )
    return _LOADERS[name]


@final
@attrs.frozen(kw_only=True)
class LanguageAgentPolicy(Generic[M_co]):
    """A policy that plays any game through text; it knows nothing of the game's actions.

    Attributes:
      prompt: F, from a history to a prompt.
      model: M_theta, from a prompt to a distribution over replies.
      parser: W, from a reply to an action text.
      sampling: the distribution that replies are drawn from; part of M_theta.
      prefill: the beginning of every reply, which is given to the model; a prefix of ``parser.opening()``.

    Raises:
      InvalidArgumentError: the parser's own replies do not begin with ``prefill``.
      ModelError: the model cannot be given the beginning of a reply.

    Theory: Definition 3.1.
    """

    model: M_co
    prompt: AbstractPrompt = MemorylessPrompt()
    parser: AbstractParser = TagParser()
    sampling: Sampling = Sampling()
    prefill: str = attrs.field(default="")

    @prefill.validator
    def _check_prefill(self, attribute: "attrs.Attribute[str]", value: str) -> None:
        if not self.parser.opening().startswith(value):
            name, opening = type(self.parser).__name__, self.parser.opening()
            known = f"the replies that {name} reads begin with {opening!r}"
            rule = known if opening else f"{name} has no beginning that all replies share"
            raise InvalidArgumentError(f"'prefill' must be left out: {rule} (got {value!r})")
        if value and not isinstance(self.model, PrefillingModel):
            raise ModelError(
                f"{type(self.model).__name__} cannot be given the beginning of a reply ('prefill')"
            )

    def reply(self, requests: Sequence[Request]) -> Sequence[Reply]:
        """One reply per request, from one batched call of the model.

        Raises:
          ContextLengthError: a prompt has become too long for the model; the message names step and agent.
        """
        try:
            completions = self.model.sample(
                [self.reply_key(request) for request in requests],
                [request.stream() for request in requests],
                sampling=self.sampling,
                stop_criterion=self.parser.is_complete,
            )
        except ContextLengthError as error:
            asked = requests[error.index]
            error.add_note(f"asked of {asked.history.agent!r} at step {asked.step}")
            raise
        return [self._reply(completion) for completion in completions]

    def reply_dist(self, request: Request) -> Distribution[Reply]:
        """The distribution of the reply: the policy, exactly.

        Raises:
          NotEnumerableError: the model's replies cannot be listed, or are too many.

        Theory: Equation 3.1.
        """
        model: LanguageModel = self.model
        if not isinstance(model, EnumerableModel):
            raise NotEnumerableError(f"the replies of {type(model).__name__} cannot be listed")
        prompt = self.reply_key(request)
        dist = reply_dist(
            model, prompt, sampling=self.sampling, stop_criterion=self.parser.is_complete
        )
        return dist.map(self._reply)

    def reply_key(self, request: Request) -> Prompt:
        """All that the distribution of the reply depends on, besides the weights."""
        return self.build_prompt(request.history)

    def build_prompt(self, history: History) -> Prompt:
        """What the model is asked.

        Earlier replies are shown without their thoughts, and the last message ends with the parser's reminder of them.
        The beginning of this reply is given where the policy has one.
        """
        replies = [self.parser.without_thoughts(turn.reply) for turn in history.turns]
        if replies != [turn.reply for turn in history.turns]:
            told = zip(history.turns, replies, strict=True)
            turns = tuple(attrs.evolve(turn, reply=reply) for turn, reply in told)
            history = attrs.evolve(history, turns=turns)
        prompt = self.prompt.build(history, self.parser.instructions())
        if reminder := self.parser.reminder(replies):
            *before, now = prompt.messages
            now = attrs.evolve(now, segments=(*now.segments, *reminder))
            prompt = attrs.evolve(prompt, messages=(*before, now))
        return attrs.evolve(prompt, prefill=self.prefill) if self.prefill else prompt

    def _reply(self, completion: Completion) -> Reply:
        return Reply(
            text=completion.reply_text,
            parser_outcome=self.parser.parse(completion.reply_text),
            completions=(completion,),
        )

    def with_sampling(self, sampling: Sampling) -> "LanguageAgentPolicy[M_co]":
        """The same weights, prompt and parser under another sampling distribution."""
        return attrs.evolve(self, sampling=sampling)

    def with_logit_cache(self) -> "LanguageAgentPolicy[Any]":
        """The same policy for a period in which no weights change; it computes no context twice if its model can."""
        model: Any = self.model
        caches = isinstance(model, CachingModel)
        return attrs.evolve(self, model=model.with_logit_cache()) if caches else self

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save prompt, parser and sampling beside the checkpoint of the model (safetensors).

        Args:
          folder: where to.
          weights: all weights of the model by name, if its network holds only parts of them.

        Raises:
          ModelError: the model has no checkpoint format.
        """
        model: LanguageModel = self.model
        if not isinstance(model, SavableModel):
            raise ModelError(f"{type(model).__name__} cannot be saved as a checkpoint")
        model.save_pretrained(folder, weights=weights)
        parts = {
            "prompt": _described(self.prompt),
            "parser": _described(self.parser),
            "sampling": attrs.asdict(self.sampling),
            "prefill": self.prefill,
            "backend": model.backend,
            **model.loading_settings(),
        }
        (Path(folder) / POLICY_FILE).write_text(json.dumps(parts, indent=2) + "\n")

    @staticmethod
    def from_pretrained(
        folder: str | Path, **loading: Any
    ) -> "LanguageAgentPolicy[TrainableModel]":
        """Load a policy that ``save_pretrained`` wrote.

        Args:
          folder: where.
          loading: further arguments of the model's loader, such as ``dtype`` of ``TransformersModel.from_pretrained``.

        Raises:
          ModelError: the folder or a part of it is missing or malformed, or no backend of its name is registered.
        """
        file = Path(folder) / POLICY_FILE
        try:
            parts = json.loads(file.read_text())
            prompt, parser = parts["prompt"], parts["parser"]
            load = _loader(parts.get("backend", "transformers"), folder)
            return LanguageAgentPolicy(
                prompt=_PROMPTS[prompt.pop("type")](**prompt),
                parser=_PARSERS[parser.pop("type")](**parser),
                sampling=Sampling(**parts["sampling"]),
                prefill=parts.get("prefill", ""),
                model=load(folder, parts, **loading),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"no policy can be loaded from {str(folder)!r}: {error}") from error


def _described(part: Any) -> dict[str, Any]:
    return {"type": type(part).__name__, **attrs.asdict(part)}


def frozen_copy(policy: LanguageAgentPolicy[T]) -> LanguageAgentPolicy[T]:
    """The policy as it stands, independent of what its weights learn later."""
    return attrs.evolve(policy, model=policy.model.frozen_copy())


def reference_policy(policy: LanguageAgentPolicy[T]) -> LanguageAgentPolicy[T]:
    """The policy as it stands when training starts, whatever it learnt before, to compare it with later."""
    return attrs.evolve(policy, model=policy.model.reference_model())


@runtime_checkable
class _CachingPolicy(Protocol):
    """A policy that need not compute a context twice while its weights stay as they are."""

    def with_logit_cache(self) -> AgentPolicy: ...


def with_logit_cache(policies: Mapping[str, AgentPolicy]) -> dict[str, AgentPolicy]:
    """The same policies for a period in which no weights change; they compute no context twice if they can avoid it.

    A policy that several agents share stays shared.
    """
    views: dict[int, AgentPolicy] = {}
    for policy in policies.values():
        if id(policy) not in views:
            view = policy.with_logit_cache() if isinstance(policy, _CachingPolicy) else policy
            views[id(policy)] = view
    return {agent: views[id(policy)] for agent, policy in policies.items()}

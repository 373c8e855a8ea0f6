"""The Language-Agent Policy <F, M_theta, W>: prompt, model and parser, composed.

Source: arXiv:2508.10839 (the name and the three parts); the formulas are our reconstruction.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import attrs
from torch import Tensor

from lap.engine.sampling import Sampling
from lap.errors import ContextLengthError, ModelError
from lap.model import LanguageModel
from lap.models.transformers import TransformersModel
from lap.parsers import AbstractParser, TagParser, WholeReplyParser
from lap.prompts import AbstractPrompt, LastTurnsPrompt, MemorylessPrompt, Prompt
from lap.replies import ListableModel, reply_dist
from tsmg import AgentPolicy, Completion, Distribution, NotEnumerableError, Reply, Request

M = TypeVar("M", bound=LanguageModel)

POLICY_FILE = "policy.json"
_PROMPTS = {cls.__name__: cls for cls in (MemorylessPrompt, LastTurnsPrompt)}
_PARSERS = {cls.__name__: cls for cls in (TagParser, WholeReplyParser)}


@final
@attrs.frozen(kw_only=True)
class LanguageAgentPolicy(Generic[M]):
    """A policy that plays any game through text; it knows nothing of the game's actions.

    Attributes:
      prompt: F, from a history to a prompt.
      model: M_theta, from a prompt to a distribution over replies.
      parser: W, from a reply to an action text.
      sampling: the distribution that replies are drawn from; part of M_theta.
    """

    model: M
    prompt: AbstractPrompt = MemorylessPrompt()
    parser: AbstractParser = TagParser()
    sampling: Sampling = Sampling()

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
        """
        model: object = self.model
        if not isinstance(model, ListableModel):
            raise NotEnumerableError(f"the replies of {type(model).__name__} cannot be listed")
        prompt = self.reply_key(request)
        dist = reply_dist(
            model, prompt, sampling=self.sampling, stop_criterion=self.parser.is_complete
        )
        return dist.map(self._reply)

    def reply_key(self, request: Request) -> Prompt:
        """All that the distribution of the reply depends on, beside the weights."""
        return self.prompt.build(request.history, self.parser.instructions())

    def _reply(self, completion: Completion) -> Reply:
        return Reply(
            text=completion.reply_text,
            parser_outcome=self.parser.parse(completion.reply_text),
            completions=(completion,),
        )

    def with_sampling(self, sampling: Sampling) -> "LanguageAgentPolicy[M]":
        """The same weights, prompt and parser under another sampling distribution."""
        return attrs.evolve(self, sampling=sampling)

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Save prompt, parser and sampling beside the checkpoint of the model (safetensors).

        Args:
          folder: where to.
          weights: all of the model's by name, where its network holds parts of them.

        Raises:
          ModelError: the model has no checkpoint format.
        """
        if not isinstance(self.model, TransformersModel):
            raise ModelError(f"{type(self.model).__name__} cannot be saved as a checkpoint")
        self.model.save_pretrained(folder, weights=weights)
        parts = {
            "prompt": {"type": type(self.prompt).__name__, **_fields(self.prompt)},
            "parser": {"type": type(self.parser).__name__, **_fields(self.parser)},
            "sampling": _fields(self.sampling),
            "chat": self.model.chat,
            "thinking": self.model.encoder.thinking,
        }
        (Path(folder) / POLICY_FILE).write_text(json.dumps(parts, indent=2) + "\n")

    @staticmethod
    def from_pretrained(
        folder: str | Path, **loading: Any
    ) -> "LanguageAgentPolicy[TransformersModel]":
        """Load a policy that ``save_pretrained`` wrote.

        Args:
          folder: where.
          loading: further arguments of ``TransformersModel.from_pretrained``, such as ``dtype``.

        Raises:
          ModelError: the folder or a part of it is missing or malformed.
        """
        file = Path(folder) / POLICY_FILE
        try:
            parts = json.loads(file.read_text())
            prompt, parser = parts["prompt"], parts["parser"]
            return LanguageAgentPolicy(
                prompt=_PROMPTS[prompt.pop("type")](**prompt),
                parser=_PARSERS[parser.pop("type")](**parser),
                sampling=Sampling(**parts["sampling"]),
                model=TransformersModel.from_pretrained(
                    folder, chat=parts["chat"], thinking=parts.get("thinking"), **loading
                ),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"no policy can be loaded from {str(folder)!r}: {error}") from error


def with_logit_cache(policies: Mapping[str, AgentPolicy]) -> dict[str, AgentPolicy]:
    """The same policies for a time in which no weights change: they compute no context twice, where they can.

    A policy that several agents share stays shared.
    """
    views = {id(policy): _view(policy) for policy in policies.values()}
    return {agent: views[id(policy)] for agent, policy in policies.items()}


def _view(policy: AgentPolicy) -> AgentPolicy:
    if isinstance(policy, LanguageAgentPolicy) and isinstance(policy.model, TransformersModel):
        return attrs.evolve(policy, model=policy.model.with_logit_cache())
    return policy


def _fields(instance: Any) -> dict[str, Any]:
    return attrs.asdict(instance)

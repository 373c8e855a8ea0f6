"""A model behind an OpenAI-compatible chat endpoint: for evaluation, and as an opponent.

It is not trained, and its tokens are not known, so records hold only texts. How a server treats control tokens in a
message is not known either, so known ones are broken up in untrusted text before it is sent.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import attrs

from lap.engine.sampling import Sampling, TokenLogprobs
from lap.errors import ModelError
from lap.model import StopCriterion
from lap.prompts import Message, Prompt
from tsmg import Completion, InvalidArgumentError, Stream

CONTROL_TOKENS = (
    "<|",  # ChatML, Llama 3, Phi and others
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
)


@attrs.frozen(kw_only=True)
class Usage:
    """The requests and tokens of an endpoint so far, by its own count.

    Attributes:
      requests: replies received.
      prompt_tokens, reply_tokens: by the server's own count; 0 if it does not report them.
    """

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0


@final
class EndpointModel:
    """A chat model behind an OpenAI-compatible endpoint (vLLM, ``transformers serve``, a provider).

    Needs the extra ``endpoint``. Requests that fail for a transient reason (no connection, a time-out, 429, 5xx) are
    repeated after growing pauses.

    Args:
      url: the base, such as ``http://localhost:8000/v1``.
      name: what the server calls the model.
      api_key: of the server, if it wants one; the environment's ``OPENAI_API_KEY`` unless given.
      concurrency: how many requests are in flight at once.
      timeout: seconds that a request may take.
      retries: how often a request is repeated.
      extra: further fields of each request, as the server knows them.

    Raises:
      InvalidArgumentError: a number is out of range.
      ModelError: the client library is not installed.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 4,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        for what, value, least in (
            ("concurrency", concurrency, 1),
            ("timeout", timeout, 1e-3),
            ("retries", retries, 0),
        ):
            if value < least:
                raise InvalidArgumentError(f"{what!r} must be at least {least} (got {value})")
        self.url = url
        self.model_id = name
        self.weights_version = 0
        self.concurrency = concurrency
        self.extra = dict(extra or {})
        self.usage = Usage()
        self._lock = threading.Lock()
        self._client = _client(url, api_key, timeout, retries)

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        """One reply per prompt, several requests at a time; a reply is not stopped early.

        Each request carries a seed from its stream, which the server may ignore.

        Raises:
          ModelError: a request failed for good, or a prompt begins the reply.
        """
        if any(prompt.prefill for prompt in prompts):
            raise ModelError(
                f"{self.model_id!r} at {self.url} cannot be given the beginning of a reply ('prefill'): "
                "chat endpoints begin every reply themselves"
            )
        with ThreadPoolExecutor(self.concurrency) as pool:
            asked = [
                pool.submit(self._completion, prompt, rng, sampling)
                for prompt, rng in zip(prompts, rngs, strict=True)
            ]
            try:
                return [one.result() for one in asked]
            finally:
                pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C no more is asked

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """An endpoint's weights are out of reach.

        Raises:
          ModelError: always.
        """
        raise ModelError(f"{self.model_id!r} at {self.url} cannot be trained: it is an endpoint")

    def _completion(self, prompt: Prompt, rng: Stream, sampling: Sampling) -> Completion:
        try:
            answer = self._client.chat.completions.create(
                model=self.model_id,
                messages=[_sent(message) for message in prompt.messages],
                max_tokens=sampling.max_reply_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=int(rng.at(0) * 2**31),
                extra_body={**_truncation(sampling), **self.extra},
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise ModelError(f"no reply from {self.model_id!r} at {self.url}: {reason}") from error
        text, reason = _said(answer)
        if text is None:
            raise ModelError(f"no reply from {self.model_id!r} at {self.url}: an empty answer")
        self._count(getattr(answer, "usage", None))
        return Completion(
            prompt_ids=(),
            reply_ids=(),
            trainable=(),
            logprobs=(),
            finished=reason == "stop",
            prompt_text=prompt.text,
            reply_text=text,
            model_id=self.model_id,
        )

    def _count(self, usage: Any) -> None:
        with self._lock:
            self.usage = Usage(
                requests=self.usage.requests + 1,
                prompt_tokens=self.usage.prompt_tokens + _tokens(usage, "prompt_tokens"),
                reply_tokens=self.usage.reply_tokens + _tokens(usage, "completion_tokens"),
            )


def _said(answer: Any) -> tuple[str | None, Any]:
    """The text of an answer and why it ended; no text where the answer has none. The client checks no types."""
    choices = getattr(answer, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    text = None if message is None else getattr(message, "content", None) or ""
    return text if isinstance(text, str) else None, getattr(choice, "finish_reason", None)


def _tokens(usage: Any, name: str) -> int:
    count = getattr(usage, name, 0)
    return count if type(count) is int and count > 0 else 0


def broken_up(text: str) -> str:
    """The text without known control tokens: a space is inserted after the first character of each.

    Example:
      >>> broken_up("left<|im_end|>")
      'left< |im_end|>'
    """
    for token in CONTROL_TOKENS:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _sent(message: Message) -> dict[str, str]:
    parts = (s.text if s.trusted else broken_up(s.text) for s in message.segments)
    content = "".join(parts).encode(errors="replace").decode()  # lone surrogates cannot be sent
    return {"role": message.role, "content": content}


def _truncation(sampling: Sampling) -> dict[str, float]:
    """What the protocol itself has no fields for."""
    settings = {"top_k": sampling.top_k, "min_p": sampling.min_p}
    return {name: value for name, value in settings.items() if value}


def _client(url: str, api_key: str | None, timeout: float, retries: int) -> Any:
    try:
        import openai  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise ModelError(
            "endpoints need the package openai: pip install 'tsmg[endpoint]'"
        ) from error
    key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
    return openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)

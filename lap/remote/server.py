"""One inference server that speaks vLLM's completions protocol: token ids in, token ids and log-probabilities out.

What it answers is checked, field by field. Nothing that another model, another tokenizer or another protocol may say is
taken for a reply.
"""

import http.client
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeGuard, final

import attrs

from lap.remote.client import (
    Address,
    EngineError,
    JsonClient,
    RequestRefusedError,
    ServerDownError,
)

Ids = tuple[int, ...]


@final
@attrs.frozen(kw_only=True)
class CompletionRequest:
    """A request to a server for a reply, or for its continuation.

    Attributes:
      prompt_ids: token ids to go on from.
      seed: of its draws, in [0, 2^53).
      max_tokens: how many tokens it may draw.
      temperature: divides the logits; 0 is greedy.
      stops: texts after which it stops; they stay in the reply.
      stop_ids: tokens after which it stops; they stay in the reply.
    """

    prompt_ids: Ids
    seed: int
    max_tokens: int
    temperature: float
    stops: Sequence[str] = ()
    stop_ids: Sequence[int] = ()


@final
@attrs.frozen(kw_only=True)
class DrawnTokens:
    """The tokens that a server drew.

    Attributes:
      ids: the tokens, at least one.
      logprobs: their log-probabilities, in nats, under the distribution that they were drawn from, as the server says.
    """

    ids: Ids
    logprobs: tuple[float, ...]


@final
class EngineServer:
    """A server, and the model that it serves.

    Args:
      address: where it is, and under which name it serves the model.
      client: asks it.

    Attributes:
      url: its address.
      base: the name under which it serves the model without adapters; known once ``connect`` was called.
      context_length: how many tokens prompt and reply may have together; likewise.
      is_alive: whether it is asked; False once it has failed.
      fault: why it is not asked.
    """

    def __init__(self, address: Address, client: JsonClient) -> None:
        self.url = address.url
        self.base = address.model
        self.context_length: int | None = None
        self.is_alive = True
        self.fault = ""
        self._client = client

    def connect(self) -> None:
        """Find out what the server serves.

        Raises:
          EngineError: it does not answer, has no such endpoint, serves no model of that name, or several without a
            name that says which.
        """
        try:
            listed = self._client.get("/v1/models")
        except RequestRefusedError as error:
            raise EngineError(
                f"{error}: it is not a completions server such as vLLM's, or it needs a key"
            ) from error
        data = listed.get("data") if isinstance(listed, dict) else None
        served = {str(m["id"]): m for m in data or () if isinstance(m, dict) and "id" in m}
        bases = [name for name, model in served.items() if model.get("parent") is None]
        names = ", ".join(served) or "no model"
        if self.base and self.base not in served:
            raise EngineError(f"the engine at {self.url} serves {names} (asked for {self.base!r})")
        if not self.base and len(bases) != 1:
            raise EngineError(
                f"the engine at {self.url} serves {names}: name one as {self.url}#MODEL"
            )
        self.base = self.base or bases[0]
        length = served[self.base].get("max_model_len")
        self.context_length = length if isinstance(length, int) else None

    def complete(self, request: CompletionRequest, model: str) -> DrawnTokens:
        """Draw a reply, or more of it.

        Args:
          request: what is asked.
          model: the name of the model or of its adapters.

        Raises:
          ServerDownError: the server does not answer.
          EngineError: it refuses the request, or does not answer what was asked.
        """
        answer = self._client.post("/v1/completions", _body(request, model))
        return _drawn(answer, request, model, self.url)

    def tokenize(self, text: str) -> list[int]:
        """The token ids of a text, control tokens in it included, and nothing added.

        Raises:
          EngineError: the server does not say.
        """
        body = {"model": self.base, "prompt": text, "add_special_tokens": False}
        answer = self._client.post("/tokenize", body)
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        if not _are_ids(ids):
            raise EngineError(f"the engine at {self.url} does not say how it tokenizes a text")
        return ids

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
          EngineError: the server does not say.
        """
        answer = self._client.post("/detokenize", {"model": self.base, "tokens": list(ids)})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise EngineError(f"the engine at {self.url} does not say what token ids stand for")
        return text

    def load_adapters(self, name: str, folder: Path) -> None:
        """Load adapters under a name, from a folder that the server can read.

        Raises:
          ServerDownError: the server does not answer.
          EngineError: it takes no adapters, or not these.
        """
        body = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        try:
            self._client.post("/v1/load_lora_adapter", body)
        except RequestRefusedError as error:
            raise EngineError(
                f"{error}; start it with --enable-lora, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment, "
                f"and where it can read {str(folder)!r}"
            ) from error
        except ServerDownError as error:
            is_refusal = error.status == http.client.INTERNAL_SERVER_ERROR  # of such adapters
            if is_refusal and self._client.answers():
                raise EngineError(
                    f"{error}; start it with --enable-lora, and with --max-lora-rank of at least the adapters' rank"
                ) from error
            raise

    def unload_adapters(self, name: str) -> None:
        """Unload adapters if the server still has them.

        Raises:
          ServerDownError: the server does not answer.
        """
        try:
            self._client.post("/v1/unload_lora_adapter", {"lora_name": name})
        except RequestRefusedError:
            return  # it was started anew since

    def reload_weights(self, folder: Path) -> None:
        """Replace all weights by those of a checkpoint that the server can read, and forget what was computed before.

        Raises:
          ServerDownError: the server does not answer.
          EngineError: it does not take weights while it runs.
        """
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        try:
            self._client.post("/collective_rpc", body)
            answer = self._client.post("/reset_prefix_cache", {})
        except RequestRefusedError as error:
            raise EngineError(
                f"{error}: to accept whole weights it must be started with VLLM_SERVER_DEV_MODE=1 in its environment; "
                "adapters (--lora) do not need this"
            ) from error
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise EngineError(
                f"the engine at {self.url} keeps what it computed with the previous weights, because "
                "/reset_prefix_cache failed"
            )

    def answers(self) -> bool:
        """Whether the server reports that it is healthy."""
        return self._client.answers()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _body(request: CompletionRequest, model: str) -> Mapping[str, object]:
    """What is sent; nothing is left to defaults, which a server takes from its checkpoint."""
    return {
        "model": model,
        "prompt": list(request.prompt_ids),
        "seed": request.seed,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
        "logprobs": 0,  # of the token that was drawn, and of no other
        "stop": list(request.stops),
        "stop_token_ids": list(request.stop_ids),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "return_token_ids": True,
    }


def _drawn(answer: object, request: CompletionRequest, model: str, url: str) -> DrawnTokens:
    """The tokens of an answer.

    Raises:
      EngineError: it is not an answer to this request.
    """

    def wrong(what: str) -> EngineError:
        return EngineError(f"the engine at {url} answers with {what}")

    if not isinstance(answer, dict):
        raise wrong("something other than JSON")
    if answer.get("model") != model:
        raise wrong(f"the model {answer.get('model')!r} where {model!r} was requested")
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise wrong("no reply, or several")
    choice = choices[0]
    ids, prompt = choice.get("token_ids"), choice.get("prompt_token_ids")
    if not _are_ids(ids):
        raise wrong("text in place of token ids: it must support 'return_token_ids', as vLLM does")
    if _are_ids(prompt) and tuple(prompt) != request.prompt_ids:
        raise wrong("a reply to another prompt")
    scores = choice.get("logprobs")
    logprobs = scores.get("token_logprobs") if isinstance(scores, dict) else None
    if not _are_logprobs(logprobs) or len(logprobs) != len(ids):
        raise wrong("no log-probability for each of its tokens")
    reason: Literal["stop", "length"] | object = choice.get("finish_reason")
    is_cut = reason == "length" and len(ids) < request.max_tokens
    if not ids or len(ids) > request.max_tokens or is_cut or reason not in ("stop", "length"):
        raise wrong(f"{len(ids)} of {request.max_tokens} tokens, for the reason {reason!r}")
    return DrawnTokens(ids=tuple(ids), logprobs=tuple(logprobs))


def _are_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _are_logprobs(value: object) -> TypeGuard[list[float]]:
    return isinstance(value, list) and all(
        isinstance(item, int | float) and math.isfinite(item) for item in value
    )

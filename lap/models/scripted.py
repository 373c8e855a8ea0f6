"""A scripted model: a distribution over replies, written by hand. For tests and reference play."""

from collections.abc import Callable, Sequence
from typing import final

from lap.engine.sampling import Sampling, TokenLogprobs
from lap.errors import ModelError
from lap.model import StopCriterion
from lap.prompts import Prompt
from tsmg import Completion, Distribution, Stream, deterministic


@final
class ScriptedModel:
    """Replies according to a given distribution; its tokens are the bytes of UTF-8, and it is not trained.

    Args:
      dist: from the prompt's text to a reply, or to a distribution over replies.
      model_id: what the records call it.
    """

    def __init__(
        self, dist: Callable[[str], str | Distribution[str]], *, model_id: str = "scripted"
    ) -> None:
        self.dist = dist
        self.model_id = model_id
        self.weights_version = 0

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        """One reply per prompt; length limits and stopping do not apply to a script."""
        return [
            self._completion(prompt.text, rng) for prompt, rng in zip(prompts, rngs, strict=True)
        ]

    def _completion(self, prompt: str, rng: Stream) -> Completion:
        dist = self.dist(prompt)
        reply = (deterministic(dist) if isinstance(dist, str) else dist).sample(rng)
        reply_ids = tuple(reply.encode(errors="surrogatepass"))
        return Completion(
            prompt_ids=tuple(prompt.encode(errors="surrogatepass")),
            reply_ids=reply_ids,
            trainable=(False,) * len(reply_ids),
            logprobs=(0.0,) * len(reply_ids),
            prompt_text=prompt,
            reply_text=reply,
            model_id=self.model_id,
        )

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        """A script has no weights.

        Raises:
          ModelError: always.
        """
        raise ModelError("a scripted model has nothing to learn")

"""A scripted model: a law over replies, written by hand. For tests and reference play."""

from collections.abc import Callable, Sequence
from typing import final

from lap.engine.sampling import Sampling
from lap.model import Decided, TokenLogprobs
from lap.prompts import Prompt
from tsmg import Call, Distribution, ModelError, Stream, certainly


@final
class ScriptedModel:
    """Replies by a given law; its tokens are the bytes of UTF-8, and nothing of it is trained.

    Args:
      law: from the prompt's text to a reply, or to a distribution over replies.
      model_id: what the records call it.
    """

    def __init__(
        self, law: Callable[[str], str | Distribution[str]], *, model_id: str = "scripted"
    ) -> None:
        self.law = law
        self.model_id = model_id
        self.weights_version = 0

    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        decided: Decided | None = None,
    ) -> list[Call]:
        """One reply per prompt; length limits and stopping do not apply to a script."""
        return [self._call(prompt.text, rng) for prompt, rng in zip(prompts, rngs, strict=True)]

    def _call(self, prompt: str, rng: Stream) -> Call:
        law = self.law(prompt)
        reply = (certainly(law) if isinstance(law, str) else law).sample(rng)
        reply_ids = tuple(reply.encode(errors="surrogatepass"))
        return Call(
            prompt_ids=tuple(prompt.encode(errors="surrogatepass")),
            reply_ids=reply_ids,
            trainable=(False,) * len(reply_ids),
            logprobs=(0.0,) * len(reply_ids),
            prompt_text=prompt,
            reply_text=reply,
            model_id=self.model_id,
        )

    def logprobs(self, calls: Sequence[Call], *, sampling: Sampling) -> TokenLogprobs:
        """A script has no weights.

        Raises:
          ModelError: always.
        """
        raise ModelError("a scripted model has nothing to learn")

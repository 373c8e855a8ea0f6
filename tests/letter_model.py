"""A second trainable backend, in plain torch: prompts are read byte by byte, replies are spelt in a few letters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import pad

from lap import Prompt, Sampling, TokenLogprobs, register_backend
from lap.engine.sampling import entropy, pick_tokens, support_mask, token_logprobs
from lap.errors import ModelError
from lap.model import StopCriterion, TrainableModel
from tsmg import Completion, Stream


class Letters(torch.nn.Module):
    """A GRU over the bytes of a prompt and the letters of the reply so far."""

    def __init__(self, letters: int, width: int) -> None:
        super().__init__()
        self.read = torch.nn.Embedding(256 + letters, width)
        self.state = torch.nn.GRU(width, width, batch_first=True)
        self.head = torch.nn.Linear(width, letters + 1)  # the last token ends a reply

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.state(self.read(ids[None]))[0][0])


class LetterModel(TrainableModel):
    backend = "letters"

    def __init__(self, letters: str, *, width: int = 16, seed: int = 0) -> None:
        self.letters, self.end = letters, len(letters)
        self.width = width
        self.model_id, self.weights_version = "letters", 0
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.network = Letters(len(letters), width)

    def logits(self, prompt: Sequence[int], reply: Sequence[int]) -> Tensor:
        """Logits of each token of a reply and of the one after it. Shape (len(reply) + 1, letters + 1)."""
        ids = torch.tensor([*prompt, *(256 + token for token in reply)])
        return self.network(ids)[len(prompt) - 1 :]

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        rngs: Sequence[Stream],
        *,
        sampling: Sampling,
        stop_criterion: StopCriterion | None = None,
    ) -> list[Completion]:
        return [
            self.reply(prompt, rng, sampling, stop_criterion)
            for prompt, rng in zip(prompts, rngs, strict=True)
        ]

    def reply(
        self, prompt: Prompt, rng: Stream, sampling: Sampling, stop: StopCriterion | None
    ) -> Completion:
        ids: list[int] = []
        logprobs, support, finished = [], [], False
        while not finished and len(ids) < sampling.max_reply_tokens:
            logits = self.logits(prompt_ids(prompt), ids)[-1:]
            logprobs_V = token_logprobs(logits, sampling)[0]
            ids.append(int(pick_tokens(logprobs_V[None], [rng.at(len(ids))])))
            logprobs.append(float(logprobs_V[ids[-1]]))
            support.append(tuple(logprobs_V.isfinite().nonzero()[:, 0].tolist()))
            finished = ids[-1] == self.end or bool(stop and stop(self.text(ids)))
        kept = tuple(support) if sampling.truncates else None
        return self.completion(prompt, ids, logprobs, kept, finished=finished)

    def completion(
        self,
        prompt: Prompt,
        ids: Sequence[int],
        logprobs: Sequence[float],
        support: Any = None,
        *,
        finished: bool = True,
    ) -> Completion:
        return Completion(
            prompt_ids=prompt_ids(prompt),
            reply_ids=tuple(ids),
            trainable=(True,) * len(ids),
            logprobs=tuple(logprobs),
            support=support,
            finished=finished,
            prompt_text=prompt.text,
            reply_text=self.text(ids),
            model_id=self.model_id,
            weights_version=self.weights_version,
        )

    def text(self, ids: Sequence[int]) -> str:
        return "".join(self.letters[token] for token in ids if token != self.end)

    def logprobs(self, completions: Sequence[Completion], *, sampling: Sampling) -> TokenLogprobs:
        if sampling.is_greedy:
            raise ModelError("a point mass has no score")
        chosen, entropies, masks = [], [], []
        for completion in completions:
            logits = self.logits(completion.prompt_ids, completion.reply_ids[:-1])
            scaled = logits / sampling.temperature
            if completion.support is not None:
                kept = support_mask(completion.support, scaled.shape[-1])
                scaled = scaled.masked_fill(~kept, -torch.inf)
            dist = torch.log_softmax(scaled, dim=-1)
            chosen.append(dist.gather(1, torch.tensor(completion.reply_ids)[:, None])[:, 0])
            entropies.append(entropy(dist))
            masks.append(torch.tensor(completion.trainable))
        width = max(len(row) for row in chosen)
        rows = [
            torch.stack([pad(row, (0, width - len(row))) for row in some])
            for some in (chosen, entropies, masks)
        ]
        return TokenLogprobs(logprobs_B_L=rows[0], entropies_B_L=rows[1], mask_B_L=rows[2])

    def written(
        self, prompt: Prompt, reply: str, *, stop_criterion: StopCriterion | None = None
    ) -> Completion:
        if not set(reply) <= set(self.letters):
            raise ModelError(f"{reply!r} cannot be spelt in {self.letters!r}")
        ids = [self.letters.index(letter) for letter in reply]
        if not (stop_criterion and stop_criterion(reply)):
            ids.append(self.end)
        return self.completion(prompt, ids, (0.0,) * len(ids))

    def reply_length(self, reply: str) -> int:
        return len(reply)

    def save_pretrained(
        self, folder: str | Path, *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(weights or self.network.state_dict(), Path(folder) / "letters.safetensors")

    def loading_settings(self) -> Mapping[str, object]:
        return {"letters": self.letters, "width": self.width}


def prompt_ids(prompt: Prompt) -> tuple[int, ...]:
    return tuple(prompt.text.encode(errors="replace"))


def load_letters(folder: str | Path, settings: Mapping[str, Any]) -> LetterModel:
    model = LetterModel(settings["letters"], width=settings["width"])
    model.network.load_state_dict(load_file(Path(folder) / "letters.safetensors"))
    return model


register_backend(LetterModel.backend, load_letters)

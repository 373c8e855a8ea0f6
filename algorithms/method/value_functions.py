"""Value functions: what a place in a reply is worth to the agent that writes it.

A place (``Position``) is what the agent has read, and the tokens that it has sampled since. A critic of turns is asked
for the first place of each reply, a critic of tokens for all of them. ``critic`` makes advantages of values.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, final

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from tsmg import Completion, InvalidArgumentError


@final
@attrs.frozen(eq=False)
class Position:
    r"""A place in a reply, before one of its tokens.

    Attributes:
      completion: the reply, with the prompt that it answers.
      tokens: how many tokens of the reply come before.

    Example:
      >>> said = Completion(prompt_ids=(7,), reply_ids=(3, 5), trainable=(True, True), logprobs=(0.0, 0.0),
      ...     prompt_text="to move: you")
      >>> [Position(said, n).text for n in (0, 1)]
      ['to move: you', 'to move: you\n<0:3>']
    """

    completion: Completion
    tokens: int

    @property
    def text(self) -> str:
        """The prompt, and on a line of its own each sampled token with its place; the prompt alone before the first."""
        marks, prompt = self.marks, self.completion.prompt_text
        return f"{prompt}\n{marks}" if marks else prompt

    @property
    def marks(self) -> str:
        """Each token that was sampled before, with its place; empty at the first."""
        c = self.completion
        before = zip(c.reply_ids[: self.tokens], c.trainable, strict=False)
        sampled = [token for token, is_ours in before if is_ours]
        return " ".join(f"<{n}:{token}>" for n, token in enumerate(sampled))


class Critic(Protocol):
    """What places are worth to the agent that came there."""

    def values(self, positions: Sequence[Position]) -> Sequence[float]:
        """The value of each place."""
        ...

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        """Learn from the returns that followed places in an update."""

    def state(self) -> Mapping[str, Any]:
        """What was learnt, as JSON can hold it."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Know what ``state`` gave."""


@final
class TableCritic:
    """A running mean of the returns that followed each place, by its text; a new text has the mean of all.

    Args:
      rate: weight of an update's mean against what was known, in (0, 1]; the first update counts in full.
    """

    def __init__(self, rate: float = 0.2) -> None:
        if not 0 < rate <= 1:
            raise InvalidArgumentError(f"'rate' must be in (0, 1] (got {rate})")
        self.rate = rate
        self.known: dict[str, float] = {}
        self.mean = 0.0

    def values(self, positions: Sequence[Position]) -> list[float]:
        """The value of each place."""
        return [self.known.get(position.text, self.mean) for position in positions]

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        """Move each text's value towards the mean of its returns."""
        by_text: dict[str, list[float]] = {}
        for position, value in zip(positions, returns, strict=True):
            by_text.setdefault(position.text, []).append(value)
        for text, found in by_text.items():
            mean = sum(found) / len(found)
            known = self.known.get(text, mean)
            self.known[text] = known + self.rate * (mean - known)
        self.mean = sum(self.known.values()) / max(1, len(self.known))

    def state(self) -> Mapping[str, Any]:
        """The values by text."""
        return {"known": dict(self.known), "mean": self.mean}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Know what ``state`` gave."""
        self.known, self.mean = dict(state["known"]), float(state["mean"])


@final
class TextCritic:
    """A small network of its own, which reads each character of a text with its line and place, and each word.

    Features are hashed into ``features`` vectors, summed, and read by one hidden layer: a board of a fixed size is read
    as it stands (but for collisions of the hash), any other text as a bag of words. It generalises to texts that were
    never read, which a table cannot.

    Args:
      features: number of vectors.
      width: of the hidden layer.
      steps: optimiser steps on each update, each on all its texts.
      learning_rate: of Adam.
      seed: of the first weights.
    """

    def __init__(
        self,
        *,
        features: int = 4096,
        width: int = 32,
        steps: int = 50,
        learning_rate: float = 3e-3,
        seed: int = 0,
    ) -> None:
        self.features, self.steps = features, steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bag = nn.EmbeddingBag(features, width, mode="sum")
            nn.init.normal_(self.bag.weight, std=width**-0.5)
            self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, 1))
        self.parameters = [*self.bag.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate)

    @torch.no_grad()
    def values(self, positions: Sequence[Position]) -> list[float]:
        """The value of each place."""
        texts = [(position.completion.prompt_text, position.marks) for position in positions]
        values: list[float] = self._read(self._bags(texts)).tolist() if texts else []
        return values

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        """Fit the mean return of each distinct text, by the mean squared error over all places."""
        if not positions:
            return
        texts = [(position.completion.prompt_text, position.marks) for position in positions]
        places = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        numbers = torch.tensor([places[text] for text in texts])
        wanted = torch.tensor(returns, dtype=torch.float32)
        bags = self._bags(tuple(places))
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            loss = (self._read(bags)[numbers] - wanted).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def _read(self, bags: "_Bags") -> Tensor:
        sums: Tensor = self.bag(*bags.prompts)[bags.numbers]
        if bags.marks is not None:
            sums = sums + self.bag(*bags.marks)
        read: Tensor = self.head(sums)[:, 0]
        return read

    def _bags(self, texts: Sequence[tuple[str, str]]) -> "_Bags":
        """The features of prompts with the marks that follow each, on a line of their own."""
        prompts = {prompt: n for n, prompt in enumerate(dict.fromkeys(p for p, _ in texts))}
        marked = any(marks for _, marks in texts)
        return _Bags(
            prompts=_in_a_row([[*self._features(p), self._feature("")] for p in prompts]),
            numbers=torch.tensor([prompts[prompt] for prompt, _ in texts]),
            marks=_in_a_row([self._features(m, line=p.count("\n") + 1) for p, m in texts])
            if marked
            else None,
        )

    def _features(self, text: str, *, line: int = 0) -> list[int]:
        """The numbers of the features of a text that begins on this line."""
        named = [
            f"{y} {x} {character}"
            for y, row in enumerate(text.split("\n"), line)
            for x, character in enumerate(row)
        ]
        return [self._feature(name) for name in (*named, *text.split())]

    def _feature(self, name: str) -> int:
        return zlib.crc32(name.encode(errors="surrogatepass")) % self.features

    def state(self) -> Mapping[str, Any]:
        """The weights and the optimiser's moments."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "weights": [packed(parameter) for parameter in self.parameters],
            "moments": [
                {name: packed(value) for name, value in moments[n].items()} for n in moments
            ],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Know what ``state`` gave."""
        with torch.no_grad():
            for parameter, text in zip(self.parameters, state["weights"], strict=True):
                parameter.copy_(unpacked(text).reshape(parameter.shape))
        saved = {
            n: {
                name: unpacked(text).reshape(() if name == "step" else self.parameters[n].shape)
                for name, text in moments.items()
            }
            for n, moments in enumerate(state["moments"])
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": saved})


@final
@attrs.frozen(kw_only=True, eq=False)
class _Bags:
    """The features of texts whose prompts recur: each prompt's once.

    Attributes:
      prompts: the features of all prompts, one after the other, and where each prompt's begin.
      numbers: the prompt of each text. Shape (n,).
      marks: those of what follows the prompt in each text, likewise; ``None`` where nothing does.
    """

    prompts: tuple[Tensor, Tensor]
    numbers: Tensor
    marks: tuple[Tensor, Tensor] | None


def _in_a_row(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """All rows, one after the other, and where each begins."""
    starts = np.cumsum([0, *map(len, rows[:-1])])
    return torch.tensor([feature for row in rows for feature in row]), torch.from_numpy(starts)


@final
class ValueHead(nn.Module):
    """A linear function from a network's last hidden states to values, 0 before it has learnt.

    Args:
      width: number of features of a state.
      of_turns: whether the first place of each reply is learnt alone.
    """

    def __init__(self, width: int, *, of_turns: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.of_turns = of_turns
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: Tensor) -> Tensor:
        """States of shape (n, width), in float32, to values of shape (n, 1)."""
        values: Tensor = self.linear(states)
        return values


def packed(tensor: Tensor) -> str:
    """A tensor's numbers as float32, in a string that JSON can hold."""
    return base64.b64encode(tensor.detach().float().numpy(force=True).tobytes()).decode()


def unpacked(text: str) -> Tensor:
    """The numbers that ``packed`` gave, in one row.

    Example:
      >>> unpacked(packed(torch.tensor([0.5, -1.0]))).tolist()
      [0.5, -1.0]
    """
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.float32).copy())

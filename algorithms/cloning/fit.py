"""The fit of a trainable model to demonstrations, step by step, and the divergence between the two."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from algorithms.cloning.demonstrations import Demonstration
from algorithms.method.batch import TrainingRow, micro_batches
from algorithms.runs.state import (
    TrainingState,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
)
from lap import ModelError, Sampling
from lap.engine.prefix_tree import Ids
from lap.model import TrainableModel
from lap.parsers import AbstractParser
from lap.prompts import Prompt
from tsmg import Completion, Stream

_WEIGHT_DECAY, _MAX_GRAD_NORM = 0.01, 1.0
_WARM_UP = 20  # steps for each one of warm-up
_WHOLE = Sampling()  # the untruncated distribution at temperature 1


@final
class WrittenReplies:
    """Demonstrations in the tokens of a model; each is encoded when it is first needed.

    Args:
      model: the model whose tokens are used.
      parser: W, which says where a reply is complete.
    """

    def __init__(self, model: TrainableModel, parser: AbstractParser) -> None:
        self._model, self._parser = model, parser
        self._known: dict[Prompt, list[tuple[Completion, float]]] = {}

    def dist(self, shown: Demonstration) -> list[tuple[Completion, float]]:
        """The replies of a demonstration with their probabilities; replies of equal tokens are one."""
        known = self._known.get(shown.prompt)
        if known is None:
            dist: dict[Ids, tuple[Completion, float]] = {}
            for reply, probability in shown.reply_dist:
                if probability > 0:
                    written = self._model.written(
                        shown.prompt, reply, stop_criterion=self._parser.is_complete
                    )
                    _, before = dist.get(written.reply_ids, (written, 0.0))
                    dist[written.reply_ids] = written, before + probability
            known = self._known[shown.prompt] = list(dist.values())
        return known

    def rows(self, shown: Sequence[Demonstration]) -> list[TrainingRow]:
        """Each distinct reply once, weighted by its share of all prompts, as micro-batches want them sorted."""
        counts = Counter(demonstration.prompt for demonstration in shown)
        distinct = {demonstration.prompt: demonstration for demonstration in shown}
        rows = [
            TrainingRow(agent="", completion=completion, advantage=1.0, weight=weight)
            for prompt, demonstration in distinct.items()
            for completion, p in self.dist(demonstration)
            if any(completion.trainable) and (weight := counts[prompt] * p / len(shown))
        ]
        return sorted(rows, key=_place)


def _place(row: TrainingRow) -> tuple[int, Ids, Ids]:
    completion = row.completion
    return len(completion.prompt_ids), completion.prompt_ids, completion.reply_ids


def cross_entropies(
    model: TrainableModel, rows: Sequence[TrainingRow], token_budget: int
) -> Iterator[Tensor]:
    """The weighted negative log-probabilities of whole replies, summed over each micro-batch; differentiable.

    Given tokens (those that the model did not choose) carry none.

    Args:
      model: the model.
      rows: sorted, as ``WrittenReplies.rows`` gives them.
      token_budget: most tokens of a forward pass.
    """
    for part in micro_batches(rows, token_budget):
        scores = model.logprobs([row.completion for row in part], sampling=_WHOLE)
        logprobs_B = (scores.logprobs_B_L * scores.mask_B_L).sum(-1)
        weights_B = torch.tensor([row.weight for row in part], device=logprobs_B.device)
        yield -(weights_B * logprobs_B).sum()


@torch.no_grad()
def divergence(
    model: TrainableModel,
    written: WrittenReplies,
    shown: Sequence[Demonstration],
    *,
    token_budget: int,
) -> float:
    """The mean over prompts of KL(demonstrated || model) over whole replies, in nats.

    Args:
      model: its untruncated distribution at temperature 1 counts.
      written: the demonstrations in its tokens.
      shown: at least one.
      token_budget: most tokens of a forward pass.
    """
    rows = written.rows(shown)
    cross_entropy = math.fsum(float(part) for part in cross_entropies(model, rows, token_budget))
    dists = [[p for _, p in written.dist(demonstration)] for demonstration in shown]
    entropy = math.fsum(-p * math.log(p) for dist in dists for p in dist)
    return cross_entropy - entropy / len(shown)


@final
class Fit:
    """A model that is being fitted, in place, to the reply distributions of demonstrations.

    The loss is the mean over prompts of the expected negative log-probability of a whole reply. AdamW's learning rate
    warms up over 5% of the steps and decays to 0 by a cosine; gradients are clipped to norm 1.

    Args:
      model: what is fitted: all parameters of its network that require gradients.
      shown: the demonstrations.
      parser: W, which says where a reply is complete.
      steps, batch, learning_rate, seed, token_budget: as ``FitConfig`` describes them.

    Attributes:
      done: how many steps were done.
      written: the demonstrations in the model's tokens.
    """

    def __init__(
        self,
        model: TrainableModel,
        shown: Sequence[Demonstration],
        *,
        parser: AbstractParser,
        steps: int,
        batch: int,
        learning_rate: float,
        seed: int,
        token_budget: int,
    ) -> None:
        self.model, self.written = model, WrittenReplies(model, parser)
        self.steps, self.done = steps, 0
        self._shown, self._batch, self._seed = shown, batch, seed
        self._learning_rate, self._token_budget = learning_rate, token_budget
        self._learned = [p for p in model.network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._learned, lr=learning_rate, weight_decay=_WEIGHT_DECAY
        )

    def step(self) -> float:
        """One optimiser step on a batch of prompts; returns its loss, in nats per reply.

        Raises:
          ModelError: the gradient is not finite.
        """
        rng = Stream("seed model", self._seed, self.done)  # its key decides the draws: it must stay
        batch = [rng.choice(self._shown) for _ in range(self._batch)]
        self._optimizer.zero_grad()
        loss = 0.0
        for part in cross_entropies(self.model, self.written.rows(batch), self._token_budget):
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        norm = torch.nn.utils.clip_grad_norm_(self._learned, _MAX_GRAD_NORM)
        if not math.isfinite(norm):
            raise ModelError(
                f"the gradient at step {self.done} of the cloning is not finite; "
                "a lower learning rate or a float32 model may help"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * schedule(self.done, self.steps)
        self._optimizer.step()
        self.done += 1
        return loss

    def divergence(self, shown: Sequence[Demonstration]) -> float:
        """How far the model is from demonstrations; see ``divergence``."""
        return divergence(self.model, self.written, shown, token_budget=self._token_budget)

    def state(self, values: Mapping[str, object]) -> TrainingState:
        """All that further steps depend on, except demonstrations and settings.

        Args:
          values: further parts of the state, as values that JSON can hold.
        """
        parts = {"model": model_state(self.model), "optimizer": optimizer_state(self._optimizer)}
        return TrainingState.of(parts, done=self.done, **values)

    def load_state(self, state: TrainingState) -> None:
        """Continue from the state of a fit of the same model, demonstrations and settings.

        Raises:
          RunFolderError: it is of another network, or malformed.
        """
        load_model_state(self.model, state.part("model"))
        load_optimizer_state(self._optimizer, state.part("optimizer"))
        self.done = int(state.values["done"])


def schedule(done: int, steps: int) -> float:
    """The share of the greatest learning rate after ``done`` steps: a linear warm-up, then half a cosine.

    Args:
      done: how many steps were done.
      steps: how many there are.

    Example:
      >>> [round(schedule(done, 41), 2) for done in (0, 1, 2, 21, 40)]
      [0.5, 1.0, 1.0, 0.52, 0.0]
    """
    warm = max(1, steps // _WARM_UP)
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, steps - warm)))

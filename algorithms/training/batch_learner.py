"""The learning of an update: optimiser steps by the gradient of its rows, over micro-batches and processes."""

import copy
import math
from collections.abc import Sequence
from typing import final

from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import TrainingRow
from algorithms.method.config import MSGRPOConfig, Schedule
from algorithms.training.learner import Learner, measured_kl
from algorithms.training.metrics import Metrics, TokenTally
from algorithms.training.optimizer import remaining, set_learning_rate
from algorithms.training.out_of_memory import with_halved_batches
from algorithms.training.ratio_check import check_ratios, check_versions
from lap import ModelError


@final
class BatchLearner:
    """Makes one optimiser step per epoch of an update.

    Args:
      learners: the policies that learn.
      config: the settings, with every ``auto`` resolved.
      sharding: how weights and rows are divided.

    Attributes:
      optimizer: of all that is learnt.
      token_budget: most tokens in a forward pass; halved where memory runs out.
    """

    def __init__(
        self, *, learners: Sequence[Learner], config: MSGRPOConfig, sharding: Sharding
    ) -> None:
        self.learners, self.config, self.sharding = learners, config, sharding
        self.parameters = [p for learner in learners for p in learner.parameters]
        self.optimizer = sharding.adamw(self.parameters, config.learning_rate)
        self.token_budget = config.token_budget
        self._ratios_are_checked = False

    def learn(self, rows: Sequence[TrainingRow], update: int) -> Metrics:
        """Make the steps of an update; returns what they were like.

        Args:
          rows: all rows of the update; each process learns from its share.
          update: how many updates were done.

        Raises:
          ModelError: rows are of other weights than these; before the first step of this object, sampling and scoring
            disagree (see ``ratio_check``); or a gradient is not finite.
        """
        check_versions(self.learners, rows)
        c, gather = self.config, self.sharding.processes.gather
        learning_rate = c.learning_rate * self._remaining(c.schedule, update)
        set_learning_rate(self.optimizer, learning_rate)
        share, tally, grad_norm = self.sharding.share(rows), TokenTally(), 0.0
        for _ in range(c.epochs if rows else 0):
            tally = self._compute_gradient(share, tally, update)
            self._check_ratios(share, tally)
            grad_norm = self.sharding.reduce_gradients(self.parameters, c.max_grad_norm)
            if not math.isfinite(grad_norm):
                raise ModelError(
                    f"the gradient at update {update} is not finite; "
                    "a lower learning rate or a float32 model may help"
                )
            self.optimizer.step()
        metrics = TokenTally.total(gather([tally])).metrics(grad_norm=grad_norm)
        if rows and not c.kl_coefficient:  # the loss has not computed it
            metrics["kl"] = measured_kl(self.learners, rows, self.sharding)
        return {**metrics, "learning_rate": learning_rate}

    def _compute_gradient(
        self, rows: Sequence[TrainingRow], tally: TokenTally, update: int
    ) -> TokenTally:
        """The gradient of the loss on rows; where memory runs out, again and from then on in smaller micro-batches.

        Returns:
          The tally, with the tokens of these rows.
        """

        def attempt(token_budget: int) -> TokenTally:
            self.token_budget = token_budget
            self.optimizer.zero_grad()
            attempted = copy.deepcopy(tally)
            self.backward(rows, update, attempted)
            return attempted

        retry = not self.sharding.divides_weights  # other processes would wait for more passes
        return with_halved_batches(attempt, self.token_budget, retry=retry)

    def backward(
        self, rows: Sequence[TrainingRow], update: int, tally: TokenTally | None = None
    ) -> None:
        """Add the gradient of the loss on rows to the ``grad`` of the weights, micro-batch by micro-batch.

        Args:
          rows: this process's share of a batch.
          update: how many updates were done, for the schedule of the regularisers.
          tally: counts the tokens along the way.
        """
        regularisation = self._remaining(self.config.regulariser_schedule, update)
        for learner in self.learners:
            for batch in self.sharding.micro_batches(learner.own(rows), self.token_budget):
                terms, entropy = learner.loss(batch, self.config, regularisation=regularisation)
                self.sharding.backward(terms.loss)
                if tally is not None:
                    tally.add(terms, entropy)

    def _check_ratios(self, rows: Sequence[TrainingRow], tally: TokenTally) -> None:
        if not self._ratios_are_checked:
            check_ratios(
                tally.ratio_deviation,
                self.learners,
                rows,
                self.sharding,
                token_budget=self.token_budget,
            )
        self._ratios_are_checked = True

    def _remaining(self, schedule: Schedule, update: int) -> float:
        return remaining(schedule, done=update, total=self.config.updates)

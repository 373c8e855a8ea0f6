"""The learning of an update: optimiser steps by the gradient of its rows, over micro-batches and processes."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar, final

from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import TrainingRow
from algorithms.method.config import MSGRPOConfig, Schedule
from algorithms.method.ratios import RATIOS, RatioKind, checked_ratio, find_ratio
from algorithms.training.health_metrics import RatioTail
from algorithms.training.learner import Learner, measured_kl
from algorithms.training.metrics import Metrics, TokenTally
from algorithms.training.optimizer import remaining, set_learning_rate
from algorithms.training.out_of_memory import with_halved_batches
from algorithms.training.playing_ahead import playing_version
from algorithms.training.ratio_check import (
    check_ratios,
    check_versions,
    narrow_range_warning,
)
from algorithms.training.rescoring import (
    Logprobs,
    rescored,
    with_episode_log_ratios,
    with_importance,
)
from lap import ModelError
from lap.model import PushingModel

T = TypeVar("T")


@final
class BatchLearner:
    """Makes one optimiser step per epoch of an update; warns of ``narrow_range_warning``.

    Args:
      learners: the policies that learn.
      config: the settings, with every ``auto`` resolved.
      sharding: how weights and rows are divided.
      ratio: a ratio kind in place of the one that the settings name.

    Raises:
      InvalidArgumentError: ``ratio`` is no ratio kind, or has a state.

    Attributes:
      optimizer: of all that is learnt.
      token_budget: most tokens in a forward pass; halved if memory runs out.
    """

    def __init__(
        self,
        *,
        learners: Sequence[Learner],
        config: MSGRPOConfig,
        sharding: Sharding,
        ratio: RatioKind | None = None,
    ) -> None:
        self.learners, self.config, self.sharding = learners, config, sharding
        self.ratio = checked_ratio(ratio) if ratio else find_ratio(config.ratio)
        self.parameters = [p for learner in learners for p in learner.parameters]
        self.optimizer = sharding.adamw(self.parameters, config.learning_rate)
        self.token_budget = config.token_budget
        self._ratios_are_checked = False
        if (warning := narrow_range_warning(learners, config)) is not None:
            warnings.warn(warning, stacklevel=3)
        models: list[object] = [learner.policy.model for learner in learners]
        # ratios of the only pass over what these weights have played themselves are 1
        self._has_tail = config.epochs > 1 or any(isinstance(m, PushingModel) for m in models)

    def learn(self, rows: Sequence[TrainingRow], update: int) -> Metrics:
        """Make the steps of an update; returns their metrics.

        Args:
          rows: all rows of the update; each process learns from its share.
          update: how many updates were done.

        Raises:
          ModelError: rows are of other weights than these; before the first step of this object, sampling and scoring
            disagree (see ``ratio_check``); or a gradient is not finite.
        """
        staleness = update - playing_version(update, self.config.max_staleness)
        check_versions(self.learners, rows, staleness=staleness)
        c, gather = self.config, self.sharding.processes.gather
        learning_rate = c.learning_rate * self._remaining(c.schedule, update)
        set_learning_rate(self.optimizer, learning_rate)
        share, tally, grad_norm = self.sharding.share(rows), TokenTally(), 0.0
        share, importance = self._with_importance(share)
        tally.tail = self._new_tail()
        for _ in range(c.epochs if rows else 0):
            share = self.prepared(share)
            tally.tail = self._new_tail()  # the last pass counts
            tally = self._compute_gradient(share, tally, update)
            if not staleness:  # older weights sampled with other probabilities
                self._check_ratios(share, tally)
            grad_norm = self.sharding.reduce_gradients(self.parameters, c.max_grad_norm)
            if not math.isfinite(grad_norm):
                own = "" if self.ratio in RATIOS.values() else ", or another ratio kind,"
                raise ModelError(
                    f"the gradient at update {update} is not finite; a lower learning rate or a float32 model{own} may "
                    "help"
                )
            self.optimizer.step()
        metrics = TokenTally.total(gather([tally])).metrics(grad_norm=grad_norm, clip=c.clip_range)
        if rows and not c.kl_coefficient:  # the loss has not computed it
            metrics["kl"] = measured_kl(self.learners, rows, self.sharding)
        return {**metrics, **importance, "learning_rate": learning_rate}

    def _new_tail(self) -> RatioTail | None:
        """What takes in the ratios of a pass, where they are not 1."""
        return RatioTail(after_steps=self.config.epochs > 1) if self._has_tail else None

    def _with_importance(self, rows: list[TrainingRow]) -> tuple[list[TrainingRow], Metrics]:
        """The rows with their importance weights, and what these are like, where they are asked for."""
        rule = self.config.importance_rule
        if rule is None:
            return rows, {}
        rows, tally = with_importance(rows, rule, self._rescored, self.sharding.processes)
        return rows, tally.metrics

    def prepared(self, rows: Sequence[TrainingRow]) -> list[TrainingRow]:
        """Rows with what the ratio kind needs of their episodes, under the current weights.

        Args:
          rows: this process's share of a batch; all processes call this together.
        """
        if not self.ratio.whole_episodes:
            return list(rows)
        return with_episode_log_ratios(rows, self._rescored, self.sharding.processes)

    def _rescored(self, rows: Sequence[TrainingRow]) -> Logprobs:
        """The log-probabilities of the tokens of rows under the policies as they stand."""
        return self.within_memory(
            lambda budget: rescored(self.learners, rows, self.sharding, token_budget=budget)
        )

    def within_memory(self, attempt: Callable[[int], T]) -> T:
        """The result of an attempt; if memory runs out, it is repeated, from then on in smaller micro-batches.

        Other processes make no further attempt, so an attempt must not wait for them.
        """

        def counted(token_budget: int) -> T:
            self.token_budget = token_budget
            return attempt(token_budget)

        retry = not self.sharding.divides_weights  # other processes would wait for more passes
        return with_halved_batches(counted, self.token_budget, retry=retry)

    def _compute_gradient(
        self, rows: Sequence[TrainingRow], tally: TokenTally, update: int
    ) -> TokenTally:
        """The gradient of the loss on rows, in place of what was in the ``grad`` of the weights.

        Returns:
          The tally, with the tokens of these rows.
        """

        def attempt(token_budget: int) -> TokenTally:
            self.optimizer.zero_grad()
            attempted = copy.deepcopy(tally)
            self.backward(rows, update, attempted)
            return attempted

        return self.within_memory(attempt)

    def backward(
        self, rows: Sequence[TrainingRow], update: int, tally: TokenTally | None = None
    ) -> None:
        """Add the gradient of the loss on rows to the ``grad`` of the weights, micro-batch by micro-batch.

        Args:
          rows: this process's share of a batch, as ``prepared`` returns them.
          update: how many updates were done, for the schedule of the regularisers.
          tally: counts the tokens along the way.
        """
        regularisation = self._remaining(self.config.regulariser_schedule, update)
        for learner in self.learners:
            for batch in self.sharding.micro_batches(learner.own(rows), self.token_budget):
                terms, entropy = learner.loss(
                    batch, self.config, regularisation=regularisation, ratio=self.ratio
                )
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

"""MS-GRPO: Multi-Step Group-Relative Policy Optimization, reconstructed from arXiv:2508.10839.

The paper's body was not at hand, only its abstract and first page. How this file differs, or may differ, from it:

1. The whole-episode return of each step, relative to the group, is the paper's; dividing by the group's standard
   deviation (population, with eps) is assumed here, and ``std="none"`` switches it off; that is the default where
   a group shares what its agents cannot see.
2. Episodes to train on are drawn by absolute advantage, as the paper says. That the draw is proportional to
   |A|, without replacement and within a group is assumed; exponent, replacement, scope and correction are options.
3. Each token's term is weighted by 1 / (groups * learning roles * kept episodes) (``weighting="constant"``), which
   does not depend on what was drawn. The paper's weighting is unknown; ``episode``, ``step`` and ``token`` are options.
4. The discount is the game's own (1 unless it says otherwise).
5. The surrogate is clipped as in PPO. One step per batch is the default; then the ratio is 1 but for
   rounding, and the clip is not active.
6. The KL term to the reference policy (k3 estimate, 0.03, decaying) is ours; an entropy bonus is an option. Both
   regularisers also hold in groups whose returns are all equal, where the surrogate is 0: otherwise nothing keeps a
   policy from becoming certain where it always fails.
7. AdamW with gradient clipping and a linear decay of the learning rate are ours.
8. With several agents, groups and baselines are per role; ``matchups`` decides who plays whom.

This module only composes: ``GroupPlayer`` plays, ``Estimator`` compares and draws, ``Learner`` scores, and one
optimiser step follows. ``Sharding`` divides the work among processes, and does nothing where there is one.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs

from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import TrainingRow
from algorithms.method.config import MSGRPOConfig, Schedule
from algorithms.method.estimator import Estimator
from algorithms.play.evaluation import Evaluation, evaluate
from algorithms.play.matchups import AbstractMatchups, SelfPlay
from algorithms.play.rollouts import fixed_starts
from algorithms.runs.state import TrainingState
from algorithms.training.drawing import draw_episodes, zero_variance_episodes
from algorithms.training.learner import (
    TrainablePolicy,
    learners_of,
    measured_kl,
    reply_sampling,
    with_sampling,
)
from algorithms.training.limits import check_setup
from algorithms.training.metrics import Metrics, TokenTally, Update, play_metrics
from algorithms.training.optimizer import remaining, set_learning_rate
from algorithms.training.out_of_memory import memory_notes, with_halved_batches
from algorithms.training.past_opponents import past_opponents
from algorithms.training.playing import GroupPlayer, playing_policies
from algorithms.training.snapshot import (
    load_training_state,
    policy_saver,
    shard_learners,
    training_state,
)
from lap import ModelError
from tsmg import AbstractGame


@final
class MSGRPOTrainer:
    """Post-trains language-agent policies on a game.

    Where a launcher of ``accelerate`` started several processes, each of them makes a trainer of the same arguments
    and calls the same methods, and every process arrives at the same policy.

    Args:
      game: the game to train on.
      policy: prompt, model and parser; its weights are trained in place, and its sampling settings are replaced by
        the configuration's. A mapping gives agents policies of their own; the same policy for all agents means shared
        weights.
      config: the settings.
      evaluation_game: the game that ``evaluate`` plays; the training game unless given (a held-out part, say).
      matchups: who plays whom; all agents learn unless given.
      constrained: whether the policies that learn can say legal actions alone (``lap.ConstrainedPolicy``), whose
        distribution is then what is learnt.

    Raises:
      InvalidArgumentError: the game has no time limit, an agent has no policy or none learns, no action can be written
        within the reply limit, or the weights cannot be sharded.
      ContextLengthError: the first prompt and a reply do not fit the model's context.

    Attributes:
      policies: the policy of each agent, as far as it learns, as it stands.
      config: the settings, with every ``auto`` replaced by what it came to.
      estimator: from groups of episodes to weighted completions, as the settings say.
      constrained: whether they can say legal actions alone.
      learners: the distinct policies, each with its reference policy.
      update_index: how many updates were done.
      token_budget: most tokens in a forward pass while learning; halved where memory runs out.
      processes: this process among those that train together.
    """

    def __init__(
        self,
        *,
        game: AbstractGame[Any, Any],
        policy: TrainablePolicy | Mapping[str, TrainablePolicy],
        config: MSGRPOConfig | None = None,
        evaluation_game: AbstractGame[Any, Any] | None = None,
        matchups: AbstractMatchups | None = None,
        constrained: bool = False,
    ) -> None:
        self.game, self.evaluation_game = game, evaluation_game or game
        self.estimator = Estimator.of(config or MSGRPOConfig(), game.facts)
        self.config = attrs.evolve(
            config or MSGRPOConfig(), group_on=self.estimator.group_on, std=self.estimator.std
        )
        self.matchups = matchups or SelfPlay()
        given = policy if isinstance(policy, Mapping) else dict.fromkeys(game.agents, policy)
        self.policies = with_sampling(given, reply_sampling(self.config), game.agents)
        self.constrained = constrained
        check_setup(game, self.matchups, self.policies, self.config, constrained=constrained)
        self.past_opponents = past_opponents(self.matchups)
        self.sharding = Sharding(self.config.sharding)
        self.processes = self.sharding.processes
        self.sharding.place([policy.model for policy in self.policies.values()])
        self.learners = learners_of(self.policies)
        shard_learners(self.learners, self.past_opponents, self.sharding)
        parameters = [p for learner in self.learners for p in learner.parameters]
        self.optimizer = self.sharding.adamw(parameters, self.config.learning_rate)
        self.player = GroupPlayer(
            game=game,
            matchups=self.matchups,
            policies=self.policies,
            config=self.config,
            sharding=self.sharding,
            constrained=constrained,
        )
        self.update_index = 0
        self.token_budget = self.config.token_budget

    @property
    def policy(self) -> TrainablePolicy:
        """The policy that learns, as it stands; of the first agent, where agents have their own."""
        return self.learners[0].policy

    def train(self) -> list[Metrics]:
        """Do all updates that are left; returns their metrics."""
        return [self.update().metrics for _ in range(self.update_index, self.config.updates)]

    def update(self) -> Update:
        """Play, compare, draw, learn: one update of the policy."""
        started, token_budget = time.perf_counter(), self.token_budget
        played = self.player.play(self.update_index)
        play_ended = time.perf_counter()
        role_groups, outcomes = played.compare(self.estimator, self.processes)
        drawn = draw_episodes(
            self.estimator, role_groups, seed=self.config.seed, update=self.update_index
        )
        regularised = zero_variance_episodes(self.config, role_groups, drawn)
        rows = self.estimator.rows(role_groups, drawn + regularised, asked=played.roles)
        learned = self._learn(rows)
        self.update_index += 1
        for learner in self.learners:
            learner.policy.model.weights_version = self.update_index
        for opponent in self.past_opponents:
            opponent.remember(self.policy, self.update_index)
        notes = memory_notes(token_budget, self.token_budget)
        return Update(
            metrics={
                "update": float(self.update_index),
                **play_metrics(outcomes, role_groups, drawn),
                "failed_episodes": float(played.failures),
                **learned,
            },
            seconds={
                "seconds_playing": play_ended - started,
                "seconds_learning": time.perf_counter() - play_ended,
            },
            rollouts=played.rollouts,
            notes=tuple(self.processes.gather(notes)),
        )

    def _learn(self, rows: Sequence[TrainingRow]) -> Metrics:
        """One optimiser step per epoch, by the gradient of the whole batch over micro-batches and processes."""
        c = self.config
        learning_rate = c.learning_rate * self._remaining(c.schedule)
        set_learning_rate(self.optimizer, learning_rate)
        parameters = [p for learner in self.learners for p in learner.parameters]
        share, tally, grad_norm = self.sharding.share(rows), TokenTally(), 0.0
        for _ in range(c.epochs if rows else 0):
            tally = self._compute_gradient(share, tally)
            grad_norm = self.sharding.reduce_gradients(parameters, c.max_grad_norm)
            if not math.isfinite(grad_norm):
                raise ModelError(
                    f"the gradient at update {self.update_index} is not finite; "
                    "a lower learning rate or a float32 model may help"
                )
            self.optimizer.step()
        metrics = TokenTally.total(self.processes.gather([tally])).metrics(grad_norm=grad_norm)
        if rows and not c.kl_coefficient:  # the loss has not computed it
            metrics["kl"] = measured_kl(self.learners, rows, self.sharding)
        return {**metrics, "learning_rate": learning_rate}

    def _compute_gradient(self, rows: Sequence[TrainingRow], tally: TokenTally) -> TokenTally:
        """The gradient of the loss on rows; where memory runs out, again and from then on in smaller micro-batches.

        Returns:
          The tally, with the tokens of these rows.
        """

        def attempt(token_budget: int) -> TokenTally:
            self.token_budget = token_budget
            self.optimizer.zero_grad()
            attempted = copy.deepcopy(tally)
            self.backward(rows, attempted)
            return attempted

        retry = not self.sharding.divides_weights  # other processes would wait for more passes
        return with_halved_batches(attempt, self.token_budget, retry=retry)

    def backward(self, rows: Sequence[TrainingRow], tally: TokenTally | None = None) -> None:
        """Add the gradient of the loss on rows to the ``grad`` of the weights, micro-batch by micro-batch.

        Args:
          rows: this process's share of a batch.
          tally: counts the tokens along the way.
        """
        regularisation = self._remaining(self.config.regulariser_schedule)
        for learner in self.learners:
            for batch in self.sharding.micro_batches(learner.own(rows), self.token_budget):
                terms, entropy = learner.loss(batch, self.config, regularisation=regularisation)
                self.sharding.backward(terms.loss)
                if tally is not None:
                    tally.add(terms, entropy)

    def _remaining(self, schedule: Schedule) -> float:
        return remaining(schedule, done=self.update_index, total=self.config.updates)

    def evaluate(
        self,
        episodes: int = 300,
        *,
        temperature: float | None = None,
        seed: int = 0,
        constrained: bool | None = None,
    ) -> Evaluation:
        """Play fixed episodes with the policy as it stands.

        Args:
          episodes: how many.
          temperature: the training temperature unless given; 0 is greedy.
          seed: of the evaluation; the same seed gives the same starts to every policy.
          constrained: whether legal actions alone can be said; as in training unless given.
        """
        limited = self.constrained if constrained is None else constrained
        sampling = reply_sampling(self.config)
        if temperature is not None:
            sampling = attrs.evolve(sampling, temperature=temperature)
        with self.sharding.whole([learner.policy.model for learner in self.learners]):
            policies = with_sampling(self.policies, sampling, self.game.agents)
            return evaluate(
                self.evaluation_game,
                playing_policies(policies, self.evaluation_game, constrained=limited),
                fixed_starts(self.evaluation_game, episodes, seed=seed),
                matchups=self.matchups,
                max_failure_rate=self.config.max_failure_rate,
                processes=self.processes,
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the policy, or each policy in a folder of its own; called by all processes, and each saves."""
        self.saver(everywhere=True)(Path(folder))

    def saver(self, *, everywhere: bool = False) -> Callable[[Path], None]:
        """See ``snapshot.policy_saver``: what saves the policies as they stand; called by all processes."""
        return policy_saver(self.learners, self.sharding, everywhere=everywhere)

    def state(self) -> TrainingState:
        """All that further updates depend on but game, settings and reference policies; called by all processes."""
        return training_state(
            self.learners,
            self.past_opponents,
            self.optimizer,
            self.sharding,
            update=self.update_index,
            token_budget=self.token_budget,
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on from a state of a trainer of the same game, settings, matchups and reference policies.

        Raises:
          RunFolderError: it belongs to other policies, or is malformed.
        """
        self.update_index, self.token_budget = load_training_state(
            state, self.learners, self.past_opponents, self.optimizer
        )

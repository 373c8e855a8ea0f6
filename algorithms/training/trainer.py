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

This module only composes: ``GroupPlayer`` plays, ``Estimator`` compares and draws, and ``BatchLearner`` makes the
optimiser steps. ``Sharding`` divides the work among processes, and does nothing if there is only one.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, final

import attrs

from algorithms.distributed.sharding import Sharding
from algorithms.method.batch import RoleGroup, TrainingRow
from algorithms.method.branching import check_goes_with
from algorithms.method.config import MSGRPOConfig
from algorithms.method.episode_sampling import Selected
from algorithms.method.estimator import Estimator
from algorithms.method.estimator_settings import check_estimator
from algorithms.method.ratios import RatioKind, find_ratio
from algorithms.play.branches import check_branches
from algorithms.play.evaluation import Evaluation, evaluate
from algorithms.play.matchups import AbstractMatchups, SelfPlay
from algorithms.play.rollouts import fixed_starts
from algorithms.play.starts import listed_starts
from algorithms.training.asking_again import ask_again
from algorithms.training.batch_learner import BatchLearner
from algorithms.training.drawing import draw_episodes, zero_variance_episodes
from algorithms.training.health_metrics import reply_likelihoods, start_coverage
from algorithms.training.learner import (
    TrainablePolicy,
    learners_of,
    reply_sampling,
    with_sampling,
)
from algorithms.training.limits import check_setup
from algorithms.training.metrics import Metrics, Update, play_metrics
from algorithms.training.out_of_memory import memory_notes
from algorithms.training.past_opponents import past_opponents, remember_learners
from algorithms.training.playing import Compared, GroupPlayer, playing_policies
from algorithms.training.playing_ahead import PlayAhead, check_staleness
from algorithms.training.snapshot import policy_saver, shard_learners
from algorithms.training.value_heads import give_critics, with_value_heads
from lap.model import PushingModel
from tsmg import AbstractGame, InvalidArgumentError


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
      constrained: whether the policies that learn can name only legal actions (``lap.ConstrainedPolicy``), whose
        distribution is then what is learnt.
      estimator: from groups of episodes to weighted completions, with rules of your own; that of the settings unless
        given.
      ratio: a ratio kind of your own, in place of the one that the settings name.

    Raises:
      InvalidArgumentError: the estimator was made of other settings, the game has no time limit, an agent has no policy
        or none learns, no action can be written within the reply limit, the weights cannot be sharded, or several
        processes share an engine.
      ContextLengthError: the first prompt and a reply do not fit the model's context.

    Attributes:
      policies: the current policy of each agent that learns.
      config: the settings, with every ``auto`` resolved.
      estimator: from groups of episodes to weighted completions.
      constrained: whether the policies that learn can name only legal actions.
      learners: the distinct policies, each with its reference policy.
      batch_learner: makes the optimiser steps of an update.
      ahead: plays the next update while this one is learnt, if ``max_staleness`` allows it.
      update_index: how many updates were done.
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
        estimator: Estimator | None = None,
        ratio: RatioKind | None = None,
    ) -> None:
        self.game, self.evaluation_game = game, evaluation_game or game
        config = config or MSGRPOConfig()
        self.estimator = estimator or Estimator.of(config, game.facts)
        check_estimator(self.estimator, config, game.facts)
        self.config = attrs.evolve(config, group_on=self.estimator.group_on, std=self.estimator.std)
        self.matchups = matchups or SelfPlay()
        given = policy if isinstance(policy, Mapping) else dict.fromkeys(game.agents, policy)
        self.policies = with_sampling(given, reply_sampling(self.config), game.agents)
        self.constrained = constrained
        check_setup(
            game,
            self.matchups,
            self.policies,
            self.config,
            constrained=constrained,
            starts=self.estimator.starts,
        )
        self.sharding = Sharding(self.config.sharding)
        self.processes = self.sharding.processes
        self.sharding.place([policy.model for policy in self.policies.values()])
        self.learners = with_value_heads(learners_of(self.policies), self.estimator.credit)
        self._check_play(ratio or find_ratio(self.config.ratio))
        self.past_opponents = past_opponents(self.matchups, self.learners)
        self.sharding.place([copy.model for one in self.past_opponents for copy in one.copies])
        shard_learners(self.learners, self.past_opponents, self.sharding)
        self.batch_learner = BatchLearner(
            learners=self.learners, config=self.config, sharding=self.sharding, ratio=ratio
        )
        give_critics(self.estimator, self.learners, game, self.batch_learner.within_memory)
        chooses = self.estimator.starts is not None
        self.player = GroupPlayer(
            game=game,
            matchups=self.matchups,
            policies=self.policies,
            config=self.config,
            sharding=self.sharding,
            constrained=constrained,
            starts=listed_starts(game, seed=self.config.seed, most=self.config.start_pool)
            if chooses
            else (),
            branching=self.estimator.branching,
        )
        check_staleness(self.config, self.learners, self.past_opponents, chooses_starts=chooses)
        self.ahead = PlayAhead(self.learners, self.player.play, self._push_weights)
        self.update_index = 0
        self._asked_again = False

    @property
    def policy(self) -> TrainablePolicy:
        """The current policy that learns; that of the first agent if agents have their own."""
        return self.learners[0].policy

    def train(self) -> list[Metrics]:
        """Do all remaining updates; returns their metrics."""
        return [self.update().metrics for _ in range(self.update_index, self.config.updates)]

    def update(self) -> Update:
        """Play, compare, draw, learn: one update of the policy.

        Raises:
          InvalidArgumentError: a rule of the user's own returns something else than its protocol says, changes its
            answer about the same group, or has a state that cannot be saved.

        Theory: Definition 15.1, Equation 15.1.
        """
        started, token_budget = time.perf_counter(), self.batch_learner.token_budget
        compared, pushed = self._play()
        play_ended = time.perf_counter()
        role_groups = self.estimator.over_batch(compared.passed)
        keyed = {"seed": self.config.seed, "update": self.update_index}
        drawn = draw_episodes(self.estimator, role_groups, **keyed)
        if not self._asked_again:
            starts = self.player.starts
            ask_again(self.estimator, compared, role_groups, drawn, starts=starts, **keyed)
            self._asked_again = True
        regularised = zero_variance_episodes(self.config, role_groups, drawn)
        rows = self.estimator.rows(role_groups, drawn + regularised, asked=compared.asked)
        with self._playing_ahead():
            learned = self.batch_learner.learn(rows, self.update_index)
        self.estimator.observe(compared.role_groups)
        self._count_update()
        notes = [
            *memory_notes(token_budget, self.batch_learner.token_budget),
            *self._notes_of_models(),
        ]
        return Update(
            metrics={
                "update": float(self.update_index),
                **play_metrics(compared.outcomes, compared.role_groups, drawn),
                "failed_episodes": float(compared.failures),
                **reply_likelihoods(role_groups),
                **self._coverage(role_groups, drawn),
                **learned,
                **pushed,
            },
            seconds={
                "seconds_playing": play_ended - started,
                "seconds_learning": time.perf_counter() - play_ended,
            },
            rollouts=compared.rollouts,
            notes=tuple(self.processes.gather(notes)),
        )

    def _coverage(self, role_groups: Sequence[RoleGroup], drawn: Sequence[Selected]) -> Metrics:
        """How many starts are learnt from, where the members of a group share theirs, and no steps beyond it."""
        branching = self.estimator.branching
        if self.estimator.group_on == "nothing" or (branching is not None and branching.trained):
            return {}
        return {**start_coverage(role_groups, drawn, corrected=self.estimator.correct_starts)}

    def _play(self) -> tuple[Compared, Metrics]:
        """The groups of this update, and what its push found; the weights as they stand are where models play."""
        if not self.config.max_staleness:
            pushed = self._push_weights()
            return self.player.play_until_enough(self.update_index, self.estimator), pushed
        plays = [self.ahead.take(self.update_index)]
        compared = self.player.compare_until_enough(plays, self.update_index, self.estimator)
        return compared, self._push_weights()

    def _playing_ahead(self) -> AbstractContextManager[None]:
        """Play the next update meanwhile, where the settings let older weights play."""
        following = self.update_index + 1
        if not self.config.max_staleness:
            return nullcontext()
        return self.ahead.playing(following if following < self.config.updates else None)

    def take_notes(self) -> tuple[str, ...]:
        """Messages about the playing servers since the last call; all processes call this together."""
        return tuple(self.processes.gather(self._notes_of_models()))

    def _notes_of_models(self) -> list[str]:
        return [note for model in self._pushing_models() for note in model.take_notes()]

    def _check_play(self, ratio: RatioKind) -> None:
        if self.estimator.branching is not None:
            check_branches(self.game)
            level = self.config.importance_level
            check_goes_with(self.estimator.branching, {"ratio": ratio, "importance_level": level})
        if self.processes.count > 1 and self._pushing_models():
            raise InvalidArgumentError(
                "an engine plays for only one learning process: start it without a launcher, and use more engines"
            )

    def _pushing_models(self) -> list[PushingModel]:
        """The models that learn and play elsewhere."""
        models: list[object] = [learner.policy.model for learner in self.learners]
        return [model for model in models if isinstance(model, PushingModel)]

    def _push_weights(self) -> Metrics:
        """Bring the weights as they stand to where models play that do not play here."""
        deviations = [model.push() for model in self._pushing_models()]
        return {"canary_max_deviation": max(deviations)} if deviations else {}

    def _count_update(self) -> None:
        self.update_index += 1
        for learner in self.learners:
            learner.policy.model.weights_version = self.update_index
        remember_learners(self.past_opponents, self.learners, self.update_index)

    def backward(self, rows: Sequence[TrainingRow]) -> None:
        """Add the gradient of the loss on rows, at this point of the run, to the ``grad`` of the weights.

        Args:
          rows: this process's share of a batch; all processes call this together.
        """
        self.batch_learner.backward(self.batch_learner.prepared(rows), self.update_index)

    def evaluate(
        self,
        episodes: int = 300,
        *,
        temperature: float | None = None,
        seed: int = 0,
        constrained: bool | None = None,
    ) -> Evaluation:
        """Play fixed episodes with the current policy.

        Args:
          episodes: how many.
          temperature: the training temperature unless given; 0 is greedy.
          seed: of the evaluation; the same seed gives the same starts to every policy.
          constrained: whether replies are constrained to legal actions; as in training unless given.
        """
        self._push_weights()
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
        policy_saver(self, everywhere=True)(Path(folder))

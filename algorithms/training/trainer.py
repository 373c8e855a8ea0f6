"""MS-GRPO: Multi-Step Group-Relative Policy Optimization, reconstructed from arXiv:2508.10839.

The paper's body was not at hand, only its abstract and first page. How this file differs, or may differ, from it:

1. The whole-episode return of each step, relative to the group, is the paper's; dividing by the group's standard
   deviation (population, with eps) is assumed here, and ``std="none"`` switches it off; that is the default where
   a group shares what its agents cannot see.
2. Episodes to train on are drawn by absolute advantage, as the paper says. That the draw is proportional to
   |A|, without replacement and within a group is assumed; exponent, replacement, scope and correction are options.
3. Each token's term is weighted by 1 / (groups * kept episodes) (``weighting="constant"``), a denominator that does not
   depend on what was drawn. The paper's weighting is unknown; ``episode``, ``step`` and ``token`` are options.
4. The discount is the game's own (1 unless it says otherwise).
5. The surrogate is clipped as in PPO. One pass over the batch is the default, and then the clip is never active.
6. The KL term to the reference policy (k3 estimate, 0.03, decaying) is ours; an entropy bonus is an option. Both
   regularisers also hold in groups whose returns are all equal, where the surrogate is 0: otherwise nothing keeps a
   policy from becoming certain where it always fails.
7. AdamW with gradient clipping and a linear decay of the learning rate are ours.
8. With several agents, groups and baselines are per role; ``matchups`` says who plays whom.

This module only composes: ``rollouts`` plays, ``estimator`` compares, draws and gathers, ``losses`` scores, and one
optimiser step follows.
"""

import contextlib
import copy
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from algorithms.distributed.processes import Processes, make_accelerator, sharded_optimizer
from algorithms.distributed.sharding import (
    clip_gradients,
    gathered,
    is_sharded,
    layers_of,
    shard,
    unsharded,
)
from algorithms.method.batch import RoleGroup, TrainingRow, micro_batches, part_of_rows
from algorithms.method.config import MSGRPOConfig, Schedule
from algorithms.method.episode_sampling import Selected, effective_sample_size
from algorithms.method.estimator import Estimator
from algorithms.method.losses import LossTerms, kl_k3, policy_loss
from algorithms.play.evaluation import Evaluation, Outcome, evaluate, mean, summarise
from algorithms.play.matchups import (
    AbstractMatchups,
    Matchup,
    PastOpponents,
    SelfPlay,
    distinct_matchups,
    reference_policy,
)
from algorithms.play.rollouts import Rollouts, check_failures, collect_groups, fixed_starts
from algorithms.runs.state import (
    TrainingState,
    load_model_state,
    load_optimizer_state,
    model_digest,
    model_state,
    optimizer_state,
)
from algorithms.training.limits import check_reply_limit
from algorithms.training.out_of_memory import with_halved_batches
from lap import LanguageAgentPolicy, Sampling, TokenLogprobs, with_logit_cache
from tsmg import (
    AbstractGame,
    Completion,
    EpisodeKey,
    InvalidArgumentError,
    ModelError,
    Purpose,
    RunFolderError,
    step_limit,
)

Metrics = dict[str, float | None]
# At least so many prompts of an update (all, if there are fewer), and less than twice as many, on whose calls the KL
# to the start is measured when the loss does without. All calls of a prompt cost little more than one of them.
_KL_PROMPTS = 16
_ANY_PROMPT = tuple(range(8))  # ids that every vocabulary has, to try a network with


@attrs.frozen(kw_only=True)
class Update:
    """What one update did.

    Attributes:
      metrics: of all processes, the same in each, and reproducible.
      seconds: what this process took, in s; not reproducible.
      rollouts: the episodes that this process played.
      notes: what was amiss.
    """

    metrics: Metrics
    seconds: Metrics
    rollouts: Rollouts
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False)
class _Learner:
    """A policy that learns, the agents that it plays, and the policy that it started as."""

    policy: LanguageAgentPolicy[Any]
    start: LanguageAgentPolicy[Any]
    agents: tuple[str, ...]


def reply_sampling(config: MSGRPOConfig) -> Sampling:
    """The distribution that replies are drawn from while training."""
    return Sampling(
        temperature=config.temperature,
        max_reply_tokens=config.max_reply_tokens,
        top_k=config.top_k,
        top_p=config.top_p,
        min_p=config.min_p,
    )


class MSGRPOTrainer:
    """Post-trains language-agent policies on a game.

    Where a launcher of ``accelerate`` started several processes, each of them makes a trainer of the same arguments
    and calls the same methods: groups and rows are shared out, and every process comes to the same policy.

    Args:
      game: what is trained on.
      policy: prompt, model and parser; its sampling settings are replaced by the configuration's. A mapping
        gives agents policies of their own; the same policy for all agents means shared weights.
      config: the settings.
      evaluation_game: what ``evaluate`` plays; the training game unless given (a held-out part, say).
      matchups: who plays whom; all agents learn unless given.

    Raises:
      InvalidArgumentError: the game has no time limit, an agent that learns has no policy, or no action can be
        said within the reply limit.

    Attributes:
      policies: the policy of each agent, as far as it learns, as it stands.
      config: the settings, with every ``auto`` replaced by what it came to.
      estimator: what they make of groups of episodes.
      update_index: how many updates were done.
      token_budget: most tokens in a forward pass while learning; halved where memory runs out.
      processes: this process among those that train together.
    """

    def __init__(
        self,
        *,
        game: AbstractGame[Any, Any],
        policy: LanguageAgentPolicy[Any] | Mapping[str, LanguageAgentPolicy[Any]],
        config: MSGRPOConfig | None = None,
        evaluation_game: AbstractGame[Any, Any] | None = None,
        matchups: AbstractMatchups | None = None,
    ) -> None:
        step_limit(game)
        self.game = game
        self.evaluation_game = evaluation_game or game
        self.estimator = Estimator.of(config or MSGRPOConfig(), game.facts)
        self.config = attrs.evolve(
            config or MSGRPOConfig(), group_on=self.estimator.group_on, std=self.estimator.std
        )
        self.matchups = matchups or SelfPlay()
        self.policies = self._at(
            self.config.temperature,
            policy if isinstance(policy, Mapping) else dict.fromkeys(game.agents, policy),
        )
        self._check_casts()
        check_reply_limit(game, self.policies)
        self.update_index = 0
        self.token_budget = self.config.token_budget
        self.accelerator = make_accelerator()
        self.processes = Processes.of(self.accelerator)
        self._place_networks()
        self._learners = self._find_learners()
        self._divided = self._divide_networks()
        self.optimizer = self._make_optimizer()

    @property
    def policy(self) -> LanguageAgentPolicy[Any]:
        """The policy that learns, as it stands; of the first agent, where agents have their own."""
        return self._learners[0].policy

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the policy; policies of their own in a folder for each, named by its first agent.

        Where several processes divide its weights all call this, and each saves it.
        """
        self.saver(everywhere=True)(Path(folder))

    def saver(self, *, everywhere: bool = False) -> Callable[[Path], None]:
        """What saves the policy as it stands, so that one process alone can; all of them ask for it together.

        Args:
          everywhere: whether other processes than the first are to save it as well.
        """
        keep = everywhere or self.processes.is_first
        weights = [
            gathered(learner.policy.model.network.state_dict(), keep=keep)
            if self._divided
            else None
            for learner in self._learners
        ]

        def save(folder: Path) -> None:
            for learner, whole_weights in zip(self._learners, weights, strict=True):
                place = folder if len(self._learners) == 1 else folder / learner.agents[0]
                learner.policy.save_pretrained(place, weights=whole_weights)

        return save

    def state(self) -> TrainingState:
        """All that further updates depend on, beside game, settings and the policies that training started from.

        Several processes call this together; where they divide something among them, the first one's state is whole.
        """
        keep = self.processes.is_first or not self._divided
        learners = {
            f"learner{n}": model_state(x.policy.model, keep=keep)
            for n, x in enumerate(self._learners)
        }
        past = {f"past{n}": opponent.state() for n, opponent in enumerate(self._past_selves())}
        return TrainingState.of(
            {**learners, **past, "optimizer": optimizer_state(self.optimizer, keep=keep)},
            update=self.update_index,
            token_budget=self.token_budget,
            starts=self._start_digests,
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on from a state that ``state`` gave, with the same game, settings, casting and reference policies.

        Raises:
          RunFolderError: it comes from other policies.
        """
        if list(state.values["starts"]) != self._start_digests:
            raise RunFolderError("'policy' must be the one that the saved training started from")
        for n, learner in enumerate(self._learners):
            load_model_state(learner.policy.model, state.part(f"learner{n}"))
        for n, opponent in enumerate(self._past_selves()):
            opponent.load_state(state.part(f"past{n}"))
        load_optimizer_state(self.optimizer, state.part("optimizer"))
        self.update_index = state.values["update"]
        self.token_budget = state.values["token_budget"]

    @functools.cached_property
    def _start_digests(self) -> list[str]:
        return [model_digest(learner.start.model) for learner in self._learners]

    def _past_selves(self) -> list[PastOpponents]:
        distinct = {id(one): one for one in self.matchups.opponents()}
        return [one for one in distinct.values() if isinstance(one, PastOpponents)]

    def _at(
        self, temperature: float, policies: Mapping[str, LanguageAgentPolicy[Any]]
    ) -> dict[str, LanguageAgentPolicy[Any]]:
        """The policies at a temperature, in the order of the game's agents; shared ones stay shared."""
        sampling = attrs.evolve(reply_sampling(self.config), temperature=temperature)
        distinct = {id(policy): policy.with_sampling(sampling) for policy in policies.values()}
        return {
            agent: distinct[id(policies[agent])] for agent in self.game.agents if agent in policies
        }

    def _check_casts(self) -> None:
        for matchup, _ in distinct_matchups(self.matchups, self.policies, self.config.groups):
            missing = [agent for agent in self.game.agents if agent not in matchup.policies]
            if missing or not matchup.learners:
                raise InvalidArgumentError(
                    f"'policy' and 'casting' must give every agent of {self.game.name} a policy and let "
                    f"one learn (without a policy: {missing}; learning: {list(matchup.learners)})"
                )

    def _place_networks(self) -> None:
        """Bring what learns to its device, equal in all processes; gradients are summed here, not by a wrapper."""
        for model in {id(policy): policy.model for policy in self.policies.values()}.values():
            model.network = self.accelerator.prepare_model(model.network, evaluation_mode=True)
            self.processes.broadcast_weights(model.network)

    def _find_learners(self) -> list[_Learner]:
        agents: dict[int, list[str]] = {}
        for agent, policy in self.policies.items():
            agents.setdefault(id(policy), []).append(agent)
        return [
            _Learner(
                policy=self.policies[names[0]],
                start=reference_policy(self.policies[names[0]]),
                agents=tuple(names),
            )
            for names in agents.values()
        ]

    def _divide_networks(self) -> list[torch.nn.Module]:
        """Leave to each process its part of the networks, where that is asked; these networks."""
        if self.config.sharding != "fsdp" or self.processes.count == 1:
            return []
        if self._past_selves():
            raise InvalidArgumentError("'sharding' fsdp does not go with opponents from the past")
        _ = self._start_digests  # of whole weights
        models = [m for x in self._learners for m in (x.policy.model, x.start.model)]
        for model in models:
            layers_of(model.network)  # refused before anything changes
            model.one_pass = True
            model.resolved_layout(_ANY_PROMPT)  # it takes passes, which are not the same everywhere
        found: list[torch.nn.Module] = []
        for model in models:
            if not any(is_sharded(p) for p in model.network.parameters()):  # adapters' starts share
                shard(model.network, self.processes.count)
                found.append(model.network)
        return found

    def _whole_while_playing(self) -> contextlib.AbstractContextManager[None]:
        """Within the block every process holds the policies whole; what they started from stays divided."""
        return unsharded([x.policy.model.network for x in self._learners])

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """AdamW, divided among the processes where that is asked."""
        parameters, rate = self._parameters(), self.config.learning_rate
        if self._divided:  # one weight at a time, since some are divided and some are not
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, foreach=False)
        if self.config.sharding == "none" or self.processes.count == 1:
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        return sharded_optimizer(parameters, torch.optim.AdamW, lr=rate, weight_decay=0.0)

    def _parameters(self) -> list[torch.nn.Parameter]:
        found = (p for x in self._learners for p in x.policy.model.network.parameters())
        return [p for p in found if p.requires_grad]

    def train(self) -> list[Metrics]:
        """Do all updates that are left; returns their metrics."""
        return [self.update().metrics for _ in range(self.update_index, self.config.updates)]

    def evaluate(
        self, episodes: int = 300, *, temperature: float | None = None, seed: int = 0
    ) -> Evaluation:
        """Play fixed episodes with the policy as it stands.

        Args:
          episodes: how many.
          temperature: the training temperature unless given; 0 is greedy.
          seed: of the evaluation; the same seed gives the same starts to every policy.
        """
        c = self.config
        learning = self._at(c.temperature if temperature is None else temperature, self.policies)
        specs = fixed_starts(self.evaluation_game, episodes, seed=seed)
        with self._whole_while_playing():
            return evaluate(
                self.evaluation_game,
                learning,
                specs,
                matchups=self.matchups,
                max_failure_rate=c.max_failure_rate,
                processes=self.processes,
            )

    def update(self) -> Update:
        """Play, compare, draw, learn: one update of the policy."""
        started = time.perf_counter()
        parts = distinct_matchups(self.matchups, self.policies, self.config.groups)
        with self._whole_while_playing():
            collected = [
                self._collect(matchup, self.processes.scatter(groups)) for matchup, groups in parts
            ]
        rollouts = Rollouts(
            groups=tuple(group for part in collected for group in part.groups),
            failed=tuple(episode for part in collected for episode in part.failed),
        )
        c = self.config
        errors = self.processes.gather(episode.error for episode in rollouts.failed)
        failures = check_failures(
            rollouts.failed, c.groups * c.group_size, c.max_failure_rate, errors=errors
        )
        played = time.perf_counter()
        role_groups, outcomes = self._gather_role_groups(parts, collected)
        selected = self._select(role_groups)
        roles = sum(len(matchup.learners) * len(groups) for matchup, groups in parts)
        trained = selected + self._silent(role_groups, selected)
        size = self.token_budget
        learnt = self._learn(self.estimator.rows(role_groups, trained, asked=roles))
        self._count_update()
        done = time.perf_counter()
        return Update(
            metrics={
                "update": float(self.update_index),
                **_play_metrics(outcomes, role_groups, selected),
                "failed_episodes": float(failures),
                **learnt,
            },
            seconds={"seconds_playing": played - started, "seconds_learning": done - played},
            rollouts=rollouts,
            notes=tuple(self.processes.gather(_memory_notes(size, self.token_budget))),
        )

    def _gather_role_groups(
        self, parts: Sequence[tuple[Matchup, Sequence[int]]], collected: Sequence[Rollouts]
    ) -> tuple[list[RoleGroup], list[Outcome]]:
        """What is learnt from the groups of all processes, in their order, and how their episodes went."""
        mine = [
            (role_group, [Outcome.of(self.game, e, role_group.agent) for e in group.episodes])
            for (matchup, _), rollouts in zip(parts, collected, strict=True)
            for group in rollouts.groups
            for role_group in self.estimator.role_groups([group], matchup.learners)
        ]
        places = {number: n for n, number in enumerate(n for _, part in parts for n in part)}
        ordered = sorted(self.processes.gather(mine), key=lambda one: places[one[0].number])
        return [one for one, _ in ordered], [o for _, outcomes_G in ordered for o in outcomes_G]

    def _count_update(self) -> None:
        self.update_index += 1
        for learner in self._learners:
            learner.policy.model.weights_version = self.update_index
        for opponent in self._past_selves():
            opponent.remember(self.policy, self.update_index)

    def _collect(self, matchup: Matchup, groups: Sequence[int]) -> Rollouts:
        c = self.config
        return collect_groups(
            self.game,
            with_logit_cache(matchup.policies),
            seed=c.seed,
            update=self.update_index,
            groups=groups,
            group_size=c.group_size,
            group_on=self.estimator.group_on,
            common_chance=c.common_chance,
            max_failure_rate=1.0,  # judged over all processes
        )

    def _select(self, role_groups: Sequence[RoleGroup]) -> list[Selected]:
        key = EpisodeKey(seed=self.config.seed, update=self.update_index)
        rngs = [
            attrs.evolve(key, group=i).shared().stream(Purpose.SUB_SAMPLE, agent=r.agent)
            for i, r in enumerate(role_groups)
        ]
        return self.estimator.draw(role_groups, rngs)

    def _silent(
        self, role_groups: Sequence[RoleGroup], selected: Sequence[Selected]
    ) -> list[Selected]:
        """Episodes of groups without signal, for the regularisers: the first ones, since none is special.

        Where episodes are drawn whatever their advantage, such groups are among them already.
        """
        c = self.config
        if c.zero_variance_groups == "skipped" or not (c.entropy_coefficient or c.kl_coefficient):
            return []
        drawn = {one.group for one in selected}
        return [
            Selected(group=index, episode=episode, weight=1.0)
            for index, role_group in enumerate(role_groups)
            if not role_group.has_signal and index not in drawn
            for episode in range(c.kept_episodes)
        ]

    def _learn(self, rows: Sequence[TrainingRow]) -> Metrics:
        """One optimiser step per epoch, on the whole batch by parts."""
        lr = self.config.learning_rate * self._left(self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        tally = _Tally()
        mine = part_of_rows(rows, self.processes.index, self.processes.count)
        measured: Metrics = {}  # before the step: the recorded log-probabilities are of these weights
        for _ in range(self.config.epochs):
            if not rows:
                break
            tally = self._gradient(mine, tally, rows)
            parameters = self._parameters()
            self.processes.sum_gradients([p for p in parameters if not is_sharded(p)])
            norm = self._clip(parameters)
            if not math.isfinite(norm):
                raise ModelError(
                    f"the gradient at update {self.update_index} is not finite; "
                    "a lower learning rate or a float32 model may help"
                )
            tally.grad_norm = norm
            self.optimizer.step()
        tally = _Tally.of_all(self.processes.gather([tally]))
        if rows and not self.config.kl_coefficient:
            with unsharded([x.start.model.network for x in self._learners]):
                measured["kl"] = self._measured_kl(rows)
        return {**tally.metrics(), **measured, "learning_rate": lr}

    def _clip(self, parameters: Sequence[torch.nn.Parameter]) -> float:
        most = self.config.max_grad_norm
        if self._divided:
            return clip_gradients(parameters, most)
        return float(self.accelerator.clip_grad_norm_(parameters, most))

    def _gradient(
        self, rows: Sequence[TrainingRow], before: "_Tally", everyones: Sequence[TrainingRow]
    ) -> "_Tally":
        """The gradient of the loss, in smaller parts from now on where memory runs out; returns the new tally."""

        def attempt(size: int) -> _Tally:
            self.token_budget = size
            self.optimizer.zero_grad()
            tally = copy.deepcopy(before)
            self.backward(rows, tally, everyones)
            return tally

        if self._divided:  # the others would wait for the passes of a second attempt
            return attempt(self.token_budget)
        tally, _ = with_halved_batches(attempt, self.token_budget)
        return tally

    def backward(
        self,
        rows: Sequence[TrainingRow],
        tally: "_Tally | None" = None,
        everyones: Sequence[TrainingRow] = (),
    ) -> None:
        """Add the gradient of the loss on these calls to the ``grad`` of the weights, part by part.

        Args:
          rows: this process's.
          tally: what is counted along the way.
          everyones: all processes' rows, where weights are divided: then all make as many passes, and one that has
            fewer parts learns nothing from the first row of all.
        """
        for learner in self._learners:
            mine, all_rows = (
                [row for row in some if row.agent in learner.agents] for some in (rows, everyones)
            )
            parts = list(micro_batches(mine, self.token_budget))
            for part in parts:
                terms, entropies = self._terms(learner, part)
                self.accelerator.backward(terms.loss)
                if tally is not None:
                    tally.add(terms, entropies)
            for _ in range(self._missing(len(parts))):
                nothing, _ = self._terms(learner, [attrs.evolve(all_rows[0], weight=0.0)])
                self.accelerator.backward(nothing.loss)

    def _missing(self, parts: int) -> int:
        """How many parts another process has more than this one, where all must have as many."""
        return max(self.processes.gather([parts])) - parts if self._divided else 0

    def _terms(
        self, learner: _Learner, part: Sequence[TrainingRow]
    ) -> tuple[LossTerms, torch.Tensor]:
        c = self.config
        left = self._left(c.regulariser_schedule)
        completions = [row.completion for row in part]
        scores = learner.policy.model.logprobs(completions, sampling=learner.policy.sampling)
        reference = _start_scores(learner, completions).logprobs_B_L if c.kl_coefficient else None
        terms = policy_loss(
            logprobs_B_L=scores.logprobs_B_L,
            old_logprobs_B_L=recorded_logprobs(completions).to(scores.logprobs_B_L.device),
            mask_B_L=scores.mask_B_L,
            advantages_B=torch.tensor([row.advantage for row in part]),
            weights_B=torch.tensor([row.weight for row in part]),
            clip=c.clip,
            entropies_B_L=scores.entropies_B_L,
            entropy_coefficient=c.entropy_coefficient * left,
            reference_logprobs_B_L=reference,
            kl_coefficient=c.kl_coefficient * left,
        )
        return terms, scores.entropies_B_L.detach()[scores.mask_B_L].double().sum()

    def _measured_kl(self, rows: Sequence[TrainingRow]) -> float:
        """The k3 estimate of the KL to the reference policies, on the completions of an even sample of prompts."""
        prompts = list(dict.fromkeys(row.completion.prompt_ids for row in rows))
        chosen = set(prompts[:: max(1, len(prompts) // _KL_PROMPTS)])
        sample = part_of_rows(
            [row for row in rows if row.completion.prompt_ids in chosen],
            self.processes.index,
            self.processes.count,
        )
        kls = []
        for learner in self._learners:
            completions = [row.completion for row in sample if row.agent in learner.agents]
            if completions:
                scores = _start_scores(learner, completions)
                old = recorded_logprobs(completions).to(scores.logprobs_B_L.device)
                kls += kl_k3(old, scores.logprobs_B_L)[scores.mask_B_L].tolist()
        return mean(self.processes.gather(kls))

    def _left(self, course: Schedule) -> float:
        """What is left of a quantity of this course."""
        return 1.0 if course == "constant" else 1 - self.update_index / self.config.updates


@torch.no_grad()
def _start_scores(learner: _Learner, completions: Sequence[Completion]) -> TokenLogprobs:
    """How likely the calls were for the policy that training started from."""
    scores: TokenLogprobs = learner.start.model.logprobs(
        completions, sampling=learner.policy.sampling
    )
    return scores


def recorded_logprobs(completions: Sequence[Completion]) -> torch.Tensor:
    """The log M_old of the tokens as sampled, 0 after the end of a reply. Shape (B, L), float32."""
    width = max(len(completion.logprobs) for completion in completions)
    return torch.tensor(
        [
            (*completion.logprobs, *(0.0,) * (width - len(completion.logprobs)))
            for completion in completions
        ]
    )


def _memory_notes(before: int, after: int) -> tuple[str, ...]:
    if before == after:
        return ()
    return (
        f"memory ran out while learning: 'token_budget' is {after} instead of {before} from here on",
    )


class _Tally:
    """Token means over the parts of a batch."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sums: dict[str, float] = {"clip_ratio": 0.0, "kl": 0.0, "entropy": 0.0, "loss": 0.0}
        self.ratio_deviation = 0.0
        self.grad_norm = 0.0

    def add(self, terms: LossTerms, entropies: torch.Tensor) -> None:
        tokens = int(terms.tokens)
        self.ratio_deviation = max(self.ratio_deviation, float(terms.ratio_max_deviation))
        self.tokens += tokens
        self.sums["clip_ratio"] += float(terms.clip_ratio) * tokens
        self.sums["kl"] += float(terms.kl) * tokens
        self.sums["entropy"] += float(entropies)
        self.sums["loss"] += float(terms.loss.detach())

    @classmethod
    def of_all(cls, tallies: Sequence["_Tally"]) -> "_Tally":
        """Of what several processes counted."""
        unsharded = copy.deepcopy(tallies[0])
        for tally in tallies[1:]:
            unsharded.tokens += tally.tokens
            unsharded.sums = {
                name: unsharded.sums[name] + tally.sums[name] for name in unsharded.sums
            }
            unsharded.ratio_deviation = max(unsharded.ratio_deviation, tally.ratio_deviation)
        return unsharded

    def metrics(self) -> Metrics:
        n = max(1, self.tokens)
        means = {name: self.sums[name] / n for name in ("clip_ratio", "kl", "entropy")}
        return {
            **means,
            "loss": self.sums["loss"],
            "grad_norm": self.grad_norm,
            "ratio_max_deviation": self.ratio_deviation,
            "trained_tokens": float(self.tokens),
        }


def _play_metrics(
    outcomes: Sequence[Outcome],
    role_groups: Sequence[RoleGroup],
    selected: Sequence[Selected],
) -> Metrics:
    """What an update's episodes were like, in the roles that learn."""
    summary = summarise(outcomes)
    completions = [
        completion
        for r in role_groups
        for completions_T in r.completions_G
        for completion in completions_T
    ]
    stds = [float(np.std(r.returns_G)) for r in role_groups]
    silent = sum(not role_group.has_signal for role_group in role_groups)
    return {
        "reward": summary.reward,
        **_by_agent("reward", summary),
        "reward_std": mean(stds),
        "frac_reward_zero_std": silent / len(role_groups) if role_groups else None,
        "success_rate": None if math.isnan(summary.success_rate) else summary.success_rate,
        "invalid_rate": summary.invalid_rate,
        "episode_length": summary.episode_length,
        "reply_length": mean(float(len(completion.reply_ids)) for completion in completions),
        "cut_rate": mean(float(not completion.finished) for completion in completions),
        "kept_episodes": float(len(selected)),
        "kept_effective_sample_size": effective_sample_size([s.weight for s in selected])
        if selected
        else 0.0,
    }


def _by_agent(name: str, evaluation: Evaluation) -> Metrics:
    """The return of each role, where there are several."""
    rewards = evaluation.reward_by_agent
    return {f"{name}/{agent}": rewards[agent] for agent in rewards if len(rewards) > 1}


def evaluation_metrics(evaluation: Evaluation, prefix: str) -> Mapping[str, float | None]:
    """An evaluation as metrics, each name with a prefix."""
    success = evaluation.success_rate
    return {
        f"{prefix}/reward": evaluation.reward,
        **_by_agent(f"{prefix}/reward", evaluation),
        f"{prefix}/success_rate": None if math.isnan(success) else success,
        f"{prefix}/invalid_rate": evaluation.invalid_rate,
        f"{prefix}/episode_length": evaluation.episode_length,
        f"{prefix}/failed_episodes": float(evaluation.failures),
    }


def recorded_evaluation(metrics: Mapping[str, Any], prefix: str) -> Evaluation:
    """The evaluation that ``evaluation_metrics`` gave these metrics of, without its episodes.

    Args:
      metrics: a line of ``metrics.jsonl``.
      prefix: as for ``evaluation_metrics``.
    """

    def number(name: str) -> float:
        value = metrics.get(f"{prefix}/{name}")
        return math.nan if value is None else float(value)

    start = f"{prefix}/reward/"
    by_agent = {key.removeprefix(start): metrics[key] for key in metrics if key.startswith(start)}
    return Evaluation(
        episodes=(),
        reward=number("reward"),
        reward_by_agent=by_agent,
        success_rate=number("success_rate"),
        invalid_rate=number("invalid_rate"),
        episode_length=number("episode_length"),
    )

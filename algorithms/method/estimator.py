"""The gradient estimator of a run: from groups of episodes to weighted completions, step by step.

    groups --role_groups--> advantages --over_batch--> groups to learn from --draw--> episodes --rows--> completions

Each arrow is a rule (``algorithms.method.rules``), and each completion has an advantage and a weight in the end. The
trainer draws from it; the estimator laboratory of ``proofs`` enumerates its distribution.
"""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from algorithms.method.advantages import BaselineKind, StdKind
from algorithms.method.batch import RoleGroup, TrainingRow, rewards_to_go, training_rows
from algorithms.method.batch_rules import find_batch_rule
from algorithms.method.branching import Branching, check_goes_with, find_branching, shared_once
from algorithms.method.config import GroupOn, MSGRPOConfig, resolved_group_on, resolved_std
from algorithms.method.credit import (
    CreditRule,
    ReturnsRule,
    ScoringRule,
    credit_rule,
    episode_advantages,
)
from algorithms.method.episode_credit import Group
from algorithms.method.episode_sampling import (
    SamplingRule,
    Selected,
    select_episodes,
    selection_dist,
)
from algorithms.method.first_draw import gradient_sizes
from algorithms.method.fit_to_game import bias_warnings, check_starts
from algorithms.method.group_filters import find_group_filter
from algorithms.method.rule_answers import (
    checked_batch,
    checked_choices,
    checked_credits,
    checked_dist,
    checked_draw,
    checked_numbers,
    checked_states,
)
from algorithms.method.rules import (
    BatchRule,
    BindableRule,
    EpisodeDraw,
    GroupFilter,
    Reading,
    StatefulRule,
    stateful_rules,
)
from algorithms.method.sampling_setting import find_sampling
from algorithms.method.starts import CandidateStart, StartLaw, StartRule, find_start_rule
from algorithms.method.weighting import WeightingKind
from tsmg import Distribution, Episode, Facts, InvalidArgumentError, Stream, product


@attrs.frozen(kw_only=True, slots=False)
class Estimator:
    """How groups of episodes become weighted completions.

    Attributes:
      group_on: what the members of a group share.
      common_chance: whether they also share the game's chance draws.
      group_size: G, how many members a group has.
      std: what advantages are divided by.
      eps: what is added to it.
      baseline: what is subtracted from returns.
      credit: the credit rule; by its ``scores`` episodes are drawn, if it has any (``ScoringRule``).
      group_filter: which groups are learnt from; all if ``None``.
      batch_rule: how advantages are compared over the batch; not at all if ``None``.
      sampling: which episodes are trained on: a ``SamplingRule``, or a draw of your own.
      kept_episodes: how many episodes of a group are meant to be trained on; the loss is a mean over that many.
      weighting: how tokens are weighted.
      starts: which starts groups begin on; those that the game draws if ``None``.
      start_floor: share of the groups whose starts are still drawn from the game's own distribution.
      correct_starts: whether the loss of each group is multiplied by its start's weight, to follow the game's own
        distribution.
      branching: which episodes of a group begin in the middle of others; none if ``None``.

    Raises:
      InvalidArgumentError: branches do not go with another setting, or a rule declares only a part of a state.

    Theory: Definition 10.1, Equation 5.2.
    """

    group_on: GroupOn
    common_chance: bool
    group_size: int
    std: StdKind
    eps: float
    baseline: BaselineKind
    credit: CreditRule
    group_filter: GroupFilter | None = None
    batch_rule: BatchRule | None = None
    sampling: SamplingRule | EpisodeDraw
    kept_episodes: int
    weighting: WeightingKind
    starts: StartRule | None = None
    start_floor: float = 0.0
    correct_starts: bool = False
    branching: Branching | None = None

    def __attrs_post_init__(self) -> None:
        _ = self._stateful  # it refuses a part of a state
        draw = self.sampling.kind if isinstance(self.sampling, SamplingRule) else self.sampling
        settings = {"common_chance": self.common_chance, "weighting": self.weighting}
        check_goes_with(self.branching, {**settings, "sampling": draw})

    @classmethod
    def of(
        cls,
        config: MSGRPOConfig,
        facts: Facts,
        *,
        credit: CreditRule | None = None,
        group_filter: GroupFilter | None = None,
        batch_rule: BatchRule | None = None,
        sampling: EpisodeDraw | None = None,
        starts: StartRule | None = None,
        branching: Branching | None = None,
    ) -> "Estimator":
        """The estimator of a configuration, with every ``auto`` resolved; warns of ``bias_warnings``.

        Args:
          config: the settings.
          facts: facts of the game that is played.
          credit: a rule in place of the one that the settings name; likewise the others.
          group_filter: which groups are learnt from.
          batch_rule: how advantages are compared over the batch.
          sampling: which episodes are trained on.
          starts: which starts groups begin on.
          branching: which episodes of a group begin in the middle of others.

        Raises:
          InvalidArgumentError: a rule of the user's own cannot be loaded, or settings of starts do not fit (see
            ``check_starts``).
        """
        given: dict[str, object] = {"credit": credit, "sampling": sampling}
        given |= {"group_filter": group_filter, "batch_rule": batch_rule}
        own = {name: rule for name, rule in given.items() if rule is not None}
        for warning in bias_warnings(config, facts, own):
            warnings.warn(warning, stacklevel=2)
        std = resolved_std(config, facts)
        starts = starts or find_start_rule(config.starts, memory=config.start_memory)
        check_starts(config, facts, chosen=starts is not None)
        branching = branching or find_branching(
            config.branching, rollouts=config.rollouts, trees=config.trees
        )
        check_goes_with(branching, {**attrs.asdict(config, recurse=False), **own})
        return cls(
            group_on=resolved_group_on(config, facts),
            common_chance=config.common_chance,
            group_size=config.group_size,
            std=std,
            eps=config.eps,
            baseline=config.baseline,
            credit=credit
            or credit_rule(
                config.credit,
                std=std,
                eps=config.eps,
                baseline=config.baseline,
                kept=config.kept_episodes,
                anchor_weight=config.anchor_weight,
                baseline_decay=config.baseline_decay,
                gae_lambda=config.gae_lambda,
                segment_lambda=config.segment_lambda,
                gae=config.gae,
                critic=config.critic,
                bootstrap=config.bootstrap,
            ),
            group_filter=group_filter
            or find_group_filter(config.group_filter, share=config.kept_groups),
            batch_rule=batch_rule or find_batch_rule(config.batch_rule, eps=config.eps),
            sampling=sampling or find_sampling(config),
            kept_episodes=config.group_size
            if sampling is None and config.sampling == "all"
            else config.kept_episodes,
            weighting=config.weighting,
            starts=starts,
            start_floor=config.start_floor,
            correct_starts=config.correct_starts,
            branching=branching,
        )

    def start_law(self, starts: Sequence[CandidateStart]) -> StartLaw | None:
        """The distribution of a group's start under the start rule's current state; ``None`` if the game draws it.

        Args:
          starts: the available starts.

        Raises:
          InvalidArgumentError: the rule returns something else than factors, or leaves out starts that weights are to
            restore.
        """
        if self.starts is None:
            return None
        law = StartLaw.of(starts, self.starts, floor=self.start_floor)
        if self.correct_starts:
            law.check_correctable()
        return law

    def role_groups(self, groups: Sequence[Group], agents: Sequence[str]) -> list[RoleGroup]:
        """Each group in each role that learns, with the advantages of its episodes and of their completions.

        Args:
          groups: groups of played episodes.
          agents: names of the agents that learn.

        Raises:
          InvalidArgumentError: the credit rule returns something else than a finite advantage for each completion.
        """
        return [self._role_group(group, agent) for group in groups for agent in agents]

    def _role_group(self, group: Group, agent: str) -> RoleGroup:
        scores_G: Sequence[float]
        if self._scoring is not None:
            scores = self._scoring.scores(group, agent)
            scores_G = checked_numbers(scores, len(group.episodes), rule=self.credit)
        else:
            scores_G = episode_advantages(
                group, agent, std=self.std, eps=self.eps, baseline=self.baseline
            )
        credits_G = self.credit(group, agent)
        if group.origins:
            credits_G = shared_once(group, agent, credits_G, rule=self.credit)
        found = RoleGroup.of(
            group, agent, advantages_G=scores_G, to_go=self._to_go if self._stateful else None
        )
        credits_G = checked_credits(credits_G, found.completions_G, rule=self.credit)
        return attrs.evolve(found, credits_G=credits_G)

    def passed(self, role_groups: Sequence[RoleGroup]) -> list[RoleGroup]:
        """The groups that pass the filter.

        Args:
          role_groups: the groups of a batch, in their roles, of all processes.

        Raises:
          InvalidArgumentError: the filter does not say yes or no to each group.
        """
        if self.group_filter is None:
            return list(role_groups)
        passes = self.group_filter(role_groups)
        checked = checked_choices(passes, len(role_groups), rule=self.group_filter)
        return list(itertools.compress(role_groups, checked))

    def over_batch(self, role_groups: Sequence[RoleGroup]) -> list[RoleGroup]:
        """The groups to learn from, with advantages that were compared over the batch.

        Args:
          role_groups: the groups that passed.

        Raises:
          InvalidArgumentError: the rule returns something else than a finite advantage for each completion.
        """
        if self.batch_rule is None or not role_groups:
            return list(role_groups)
        completions = [g.completions_G for g in role_groups]
        changed = checked_batch(self.batch_rule(role_groups), completions, rule=self.batch_rule)
        return [
            attrs.evolve(g, credits_G=credits_G)
            for g, credits_G in zip(role_groups, changed, strict=True)
        ]

    def draw(self, role_groups: Sequence[RoleGroup], rngs: Sequence[Stream]) -> list[Selected]:
        """The episodes to train on, drawn with one stream per role and group."""
        if isinstance(self.sampling, SamplingRule):
            return select_episodes(self._drawn_by(role_groups), self.sampling, rngs=rngs)
        drawn = zip(self._own_draws(self.sampling, role_groups), rngs, strict=True)
        return [chosen for dist, rng in drawn for chosen in dist.sample(rng)]

    def draw_dist(self, role_groups: Sequence[RoleGroup]) -> Distribution[tuple[Selected, ...]]:
        """The distribution of ``draw``."""
        if isinstance(self.sampling, SamplingRule):
            return selection_dist(self._drawn_by(role_groups), self.sampling)
        dists = list(self._own_draws(self.sampling, role_groups))
        return product(dists).map(lambda parts: tuple(itertools.chain.from_iterable(parts)))

    def _drawn_by(self, role_groups: Sequence[RoleGroup]) -> list[NDArray[np.float64]]:
        """What the probabilities of each group's episodes follow from; with "optimal" from their credit itself."""
        if isinstance(self.sampling, SamplingRule) and self.sampling.kind == "optimal":
            return [
                gradient_sizes(g.credits_G, g.completions_G, weighting=self.weighting)
                for g in role_groups
            ]
        return [np.array(role_group.advantages_G) for role_group in role_groups]

    def _own_draws(
        self, rule: EpisodeDraw, role_groups: Sequence[RoleGroup]
    ) -> Iterator[Distribution[tuple[Selected, ...]]]:
        """The draws of a rule of the user's own, group by group."""
        for number, role_group in enumerate(role_groups):
            dist = checked_dist(rule(role_group), rule=rule)
            chosen = functools.partial(
                _selected, number=number, size=len(role_group.returns_G), rule=rule
            )
            yield dist.map(chosen)

    def rows(
        self, role_groups: Sequence[RoleGroup], selected: Sequence[Selected], *, asked: int
    ) -> list[TrainingRow]:
        """The completions to learn from.

        Args:
          role_groups: the groups in their roles.
          selected: which episodes are trained on.
          asked: how many (group, role) pairs were planned: the denominator, whatever was drawn or failed. With a group
            filter, those that passed are the denominator.
        """
        groups = asked if self.group_filter is None else max(1, len(role_groups))
        if self.correct_starts:
            selected = [
                attrs.evolve(s, weight=s.weight * role_groups[s.group].start_weight)
                for s in selected
            ]
        return training_rows(
            role_groups,
            selected,
            weighting=self.weighting,
            denominator_episodes=groups * self.kept_episodes,
        )

    def bind(self, reading: Reading) -> None:
        """Tell the credit rule and the batch rule, if they ask, how agents read episodes."""
        rules: list[object] = [self.credit, self.batch_rule]
        for rule in rules:
            if isinstance(rule, BindableRule):
                rule.bind(reading)

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Let rules with a state take the groups of an update into account.

        Args:
          role_groups: all groups that were played, in their roles, of all processes.

        Raises:
          InvalidArgumentError: the state of a rule of the user's own could not be saved.
        """
        for rule in self._stateful.values():
            rule.observe(role_groups)
        checked_states(self._stateful, own=True)

    def state(self) -> dict[str, Mapping[str, Any]]:
        """The state of each rule that has one, by the rule's place in the estimator.

        Raises:
          InvalidArgumentError: a state could not be saved (``checked_states``).
        """
        return checked_states(self._stateful)

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Give rules the state that ``state`` returned.

        Raises:
          InvalidArgumentError: the state is that of other rules.
        """
        if set(state) != set(self._stateful):
            raise InvalidArgumentError(
                f"the saved state must be that of the rules {sorted(self._stateful)} (got {sorted(state)})"
            )
        for place, rule in self._stateful.items():
            rule.load_state(state[place])

    @functools.cached_property
    def _scoring(self) -> ScoringRule | None:
        """The credit rule, if it gives the scores by which episodes are drawn."""
        return self.credit if isinstance(self.credit, ScoringRule) else None

    @property
    def _to_go(self) -> Callable[[Episode[Any], str], list[float]]:
        """From an episode and an agent to the return from each step on."""
        return self.credit.to_go if isinstance(self.credit, ReturnsRule) else rewards_to_go

    @functools.cached_property
    def _stateful(self) -> dict[str, StatefulRule]:
        """The rules that remember something, by their place."""
        places = ("credit", "group_filter", "batch_rule", "sampling", "starts", "branching")
        return stateful_rules({place: getattr(self, place) for place in places})


def _selected(
    pairs: Sequence[tuple[int, float]], *, number: int, size: int, rule: object
) -> tuple[Selected, ...]:
    """What a draw of the user's own selects from a group of this number and size."""
    return tuple(
        Selected(group=number, episode=e, weight=weight)
        for e, weight in checked_draw(pairs, size, rule=rule)
    )

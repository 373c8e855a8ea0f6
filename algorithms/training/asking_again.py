"""Rules of the user's own, asked twice: a run of rules that change their answers could not be resumed."""

from collections.abc import Sequence
from typing import Any

import attrs

from algorithms.method.batch import RoleGroup
from algorithms.method.episode_sampling import Selected
from algorithms.method.estimator import Estimator
from algorithms.method.rule_answers import check_same_answer, checked_numbers
from algorithms.method.rules import is_own
from algorithms.method.starts import CandidateStart
from algorithms.play.branches import branch_points
from algorithms.training.drawing import draw_episodes
from algorithms.training.playing import Compared
from tsmg import EpisodeGroup


def ask_again(
    estimator: Estimator,
    compared: Compared,
    role_groups: Sequence[RoleGroup],
    drawn: Sequence[Selected],
    *,
    starts: Sequence[CandidateStart],
    seed: int,
    update: int,
) -> None:
    """Ask the user's own rules what they have just answered.

    Args:
      estimator: has the rules.
      compared: what they made of the groups; branching and credit are asked about the first group that this process
        played.
      role_groups: those that passed, as the batch rule has left them.
      drawn: the episodes that were drawn among them.
      starts: those that a start rule chooses among.
      seed: the seed of the run.
      update: the number of the update.

    Raises:
      InvalidArgumentError: a rule answered differently; the message names it.
    """
    if (rule := estimator.starts) is not None and is_own(rule):
        one, other = (checked_numbers(rule(starts), len(starts), rule=rule) for _ in range(2))
        check_same_answer(one, other, rule=rule)
    for group in compared.rollouts.groups[:1]:
        _ask_about(group, estimator, compared.role_groups)
    if is_own(estimator.group_filter):
        passed = estimator.passed(compared.role_groups)[: compared.asked]
        check_same_answer(_names(compared.passed), _names(passed), rule=estimator.group_filter)
    if is_own(estimator.batch_rule):
        changed = estimator.over_batch(compared.passed)
        check_same_answer(_credit(role_groups), _credit(changed), rule=estimator.batch_rule)
    if is_own(estimator.sampling):
        again = draw_episodes(estimator, role_groups, seed=seed, update=update)
        check_same_answer(list(drawn), again, rule=estimator.sampling)


def _ask_about(
    group: EpisodeGroup[Any], estimator: Estimator, role_groups: Sequence[RoleGroup]
) -> None:
    """Ask where branches of a group begin, and what credit its completions have in each role that learns."""
    number = group.episodes[0].key.group
    before = [g for g in role_groups if g.number == number]
    learners = [g.agent for g in before]
    branching = estimator.branching
    if branching is not None and is_own(branching):
        origins = group.origins or (None,) * len(group.episodes)
        pairs = zip(group.episodes, origins, strict=True)
        roots = attrs.evolve(
            group,
            episodes=tuple(episode for episode, origin in pairs if origin is None),
            origins=(),
            rollouts=(),
        )
        size = estimator.group_size
        one, other = (
            branch_points(roots, branching, learners=learners, group_size=size) for _ in range(2)
        )
        check_same_answer(one, other, rule=branching)
    if is_own(estimator.credit):
        after = estimator.role_groups([group], learners)
        check_same_answer(_credit(before), _credit(after), rule=estimator.credit)


def _credit(role_groups: Sequence[RoleGroup]) -> list[tuple[object, object]]:
    return [(g.advantages_G, g.credits_G) for g in role_groups]


def _names(role_groups: Sequence[RoleGroup]) -> list[tuple[int, str]]:
    return [(g.number, g.agent) for g in role_groups]

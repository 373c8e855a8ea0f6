"""Rules of the user's own, asked twice: a run of rules that change their answers could not be resumed."""

from collections.abc import Sequence

from algorithms.method.batch import RoleGroup
from algorithms.method.episode_sampling import Selected
from algorithms.method.estimator import Estimator
from algorithms.method.rule_answers import check_same_answer
from algorithms.method.rules import is_own
from algorithms.training.drawing import draw_episodes
from algorithms.training.playing import Compared


def ask_again(
    estimator: Estimator,
    compared: Compared,
    role_groups: Sequence[RoleGroup],
    drawn: Sequence[Selected],
    *,
    seed: int,
    update: int,
) -> None:
    """Ask the user's own rules of credit, filter, batch and draw what they have just answered.

    Args:
      estimator: has the rules.
      compared: what they made of the groups; credit is asked about the first group that this process played.
      role_groups: those that passed, as the batch rule has left them.
      drawn: the episodes that were drawn among them.
      seed: the seed of the run.
      update: the number of the update.

    Raises:
      InvalidArgumentError: a rule answered differently; the message names it.
    """
    if is_own(estimator.credit):
        for group in compared.rollouts.groups[:1]:
            number = group.episodes[0].key.group
            before = [g for g in compared.role_groups if g.number == number]
            after = [estimator.role_groups([group], [g.agent])[0] for g in before]
            check_same_answer(_credit(before), _credit(after), rule=estimator.credit)
    if is_own(estimator.group_filter):
        passed = estimator.passed(compared.role_groups)[: compared.asked]
        check_same_answer(_names(compared.passed), _names(passed), rule=estimator.group_filter)
    if is_own(estimator.batch_rule):
        after = estimator.over_batch(compared.passed)
        check_same_answer(_credit(role_groups), _credit(after), rule=estimator.batch_rule)
    if is_own(estimator.sampling):
        again = draw_episodes(estimator, role_groups, seed=seed, update=update)
        check_same_answer(list(drawn), again, rule=estimator.sampling)


def _credit(role_groups: Sequence[RoleGroup]) -> list[tuple[object, object]]:
    return [(g.advantages_G, g.credits_G) for g in role_groups]


def _names(role_groups: Sequence[RoleGroup]) -> list[tuple[int, str]]:
    return [(g.number, g.agent) for g in role_groups]

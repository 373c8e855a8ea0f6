"""What rules return, checked: anything else than the rule's protocol says is refused in one sentence that names it.

Rules may compute with NumPy and return arrays; what is kept of them are Python's own numbers and tuples.
"""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from algorithms.method.advantages import Advantage
from algorithms.method.rules import StatefulRule, is_own, rule_name
from tsmg import Completion, Distribution, InvalidArgumentError


@contextmanager
def reading_answer(answer: object, *, rule: object, wanted: str) -> Iterator[None]:
    """Turn what goes wrong as the answer of a rule is read into one sentence.

    Args:
      answer: what the rule returned.
      rule: the rule.
      wanted: what it should have returned.

    Raises:
      InvalidArgumentError: the answer has another type, or not the parts that are read.
    """
    try:
        yield
    except InvalidArgumentError:
        raise
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidArgumentError(
            f"{rule_name(rule)} must return {wanted} (got {answer!r:.100})"
        ) from error


def checked_credits(
    credits_G: Sequence[Sequence[Advantage]],
    completions_G: Sequence[Sequence[Completion]],
    *,
    rule: object,
) -> tuple[tuple[Advantage, ...], ...]:
    """The result of a credit rule, checked, as the advantages of a group.

    Args:
      credits_G: for each episode, an advantage for each completion, or a row of them, one for each of its tokens.
      completions_G: for each episode, the agent's completions.
      rule: the rule, for messages.

    Raises:
      InvalidArgumentError: they are not as many as there are episodes, completions or tokens, or one is not finite.
    """
    counts = [len(row) for row in completions_G]
    wanted = f"an advantage for each completion of each episode: rows of {counts}"
    with reading_answer(credits_G, rule=rule, wanted=wanted):
        rows = [tuple(row) for row in credits_G]
        if (found := [len(row) for row in rows]) != counts:
            raise InvalidArgumentError(
                f"{rule_name(rule)} must return {wanted} (got rows of {found})"
            )
        return tuple(
            tuple(
                _checked(credit, completion, rule) for credit, completion in zip(*pair, strict=True)
            )
            for pair in zip(rows, completions_G, strict=True)
        )


def checked_batch(
    changed: Sequence[Sequence[Sequence[Advantage]]],
    completions: Sequence[Sequence[Sequence[Completion]]],
    *,
    rule: object,
) -> list[tuple[tuple[Advantage, ...], ...]]:
    """The result of a batch rule, checked, as the advantages of each group.

    Args:
      changed: for each group, what ``checked_credits`` takes.
      completions: for each group and episode, the agent's completions.
      rule: the rule, for messages.

    Raises:
      InvalidArgumentError: they are not as many as there are groups, or those of a group are refused.
    """
    wanted = f"advantages for {len(completions)} groups"
    with reading_answer(changed, rule=rule, wanted=wanted):
        groups = list(changed)
    if len(groups) != len(completions):
        raise InvalidArgumentError(f"{rule_name(rule)} must return {wanted} (got {len(groups)})")
    pairs = zip(groups, completions, strict=True)
    return [checked_credits(credits_G, own_G, rule=rule) for credits_G, own_G in pairs]


def _checked(credit: Advantage, completion: Completion, rule: object) -> Advantage:
    if type(credit) is float and math.isfinite(credit):
        return credit  # nearly every one
    values = np.asarray(credit, dtype=np.float64)
    if values.ndim == 0:
        return checked_numbers([values.item()], 1, rule=rule)[0]
    return checked_numbers(values.tolist(), len(completion.reply_ids), rule=rule)


def checked_numbers(values: Sequence[float], count: int, *, rule: object) -> tuple[float, ...]:
    """The result of a rule, checked, as ``count`` finite numbers.

    Raises:
      InvalidArgumentError: they are not.

    Example:
      >>> checked_numbers(np.ones(2), 2, rule=len)
      (1.0, 1.0)
    """
    wanted = f"{count} finite number{'s' * (count != 1)}"
    with reading_answer(values, rule=rule, wanted=wanted):
        numbers = tuple(map(float, values))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InvalidArgumentError(f"{rule_name(rule)} must return {wanted} (got {numbers})")
    return numbers


def checked_choices(values: Sequence[bool], count: int, *, rule: object) -> tuple[bool, ...]:
    """The result of a rule, checked, as ``count`` times yes or no.

    Raises:
      InvalidArgumentError: it is not.

    Example:
      >>> checked_choices(np.array([1.5, 0.5]) > 1, 2, rule=len)
      (True, False)
    """
    wanted = f"True or False for each of {count} groups"
    with reading_answer(values, rule=rule, wanted=wanted):
        answers = tuple(values)
        if len(answers) != count or any(answer not in (0, 1) for answer in answers):
            raise InvalidArgumentError(f"{rule_name(rule)} must return {wanted} (got {answers})")
    return tuple(map(bool, answers))


def checked_states(
    rules: Mapping[str, StatefulRule], *, own: bool = False
) -> dict[str, Mapping[str, Any]]:
    """The states of rules, checked, by the places of the rules.

    Args:
      rules: the rules, by their places.
      own: whether only the states of the user's own rules are asked for.

    Raises:
      InvalidArgumentError: a state is not equal to what JSON makes of it, but that tuples become lists.
    """
    states = {place: rule.state() for place, rule in rules.items() if is_own(rule) or not own}
    for place, state in states.items():
        if not _is_plain(state):
            raise InvalidArgumentError(
                f"{rule_name(rules[place])} must give a state that JSON can hold and give back (got {state!r:.100})"
            )
    return states


def _is_plain(value: object) -> bool:
    """Whether JSON gives back an equal value."""
    try:
        if isinstance(value, dict):
            return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return all(map(_is_plain, value))
    except RecursionError:  # it contains itself
        return False
    return value is None or isinstance(value, bool | int | float | str)


def check_same_answer(before: object, after: object, *, rule: object) -> None:
    """Refuse a rule that answers the same question differently.

    Args:
      before: what it answered.
      after: what it answered another time, in the same state.
      rule: the rule, for the message.

    Raises:
      InvalidArgumentError: the answers differ.
    """
    if before != after:
        raise InvalidArgumentError(
            f"{rule_name(rule)} must return the same when it is asked again; what it remembers belongs in a state "
            "(algorithms.method.rules.StatefulRule)"
        )


def checked_dist(dist: object, *, rule: object) -> Distribution[tuple[tuple[int, float], ...]]:
    """The result of an episode draw, checked, as a distribution; ``checked_draw`` checks what is drawn.

    Raises:
      InvalidArgumentError: it is none.
    """
    if not isinstance(dist, Distribution):
        raise InvalidArgumentError(
            f"{rule_name(rule)} must return a distribution, such as tsmg.Finite, of pairs of an episode and a weight "
            f"(got {dist!r:.100})"
        )
    return dist


def checked_draw(
    pairs: Sequence[tuple[int, float]], size: int, *, rule: object
) -> tuple[tuple[int, float], ...]:
    """What a draw selects from a group of this size, checked: pairs of an episode and its weight.

    Raises:
      InvalidArgumentError: it is something else.
    """
    wanted = f"draws of pairs of one of {size} episodes and a weight of at least 0"
    with reading_answer(pairs, rule=rule, wanted=wanted):
        found = tuple((operator.index(episode), float(weight)) for episode, weight in pairs)
    if not all(0 <= e < size and 0 <= weight < math.inf for e, weight in found):
        raise InvalidArgumentError(f"{rule_name(rule)} must return {wanted} (got {pairs})")
    return found

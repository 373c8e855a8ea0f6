"""The rules of which a method consists, by name or written by the user: how they are found, checked and saved.

    credit rule     group, agent -> an advantage for each completion, or for each of its tokens
    group filter    the batch's groups -> which of them are learnt from
    batch rule      those groups -> their advantages, compared over the batch
    episode draw    a group -> a distribution of episodes to train on
    start rule      the starts of the game -> a factor for each, by which its probability is multiplied (``starts``)

A setting names a rule of the library, or by ``module:object`` one of the user's: a function, or a class that is
instantiated without arguments. A rule is a pure function: the trainer and the laboratory may call it any number of
times. A rule that remembers something over updates keeps it in an explicit state (``StatefulRule``).
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from algorithms.method.advantages import Advantage
from algorithms.method.batch import RoleGroup
from tsmg import Completion, Distribution, Episode, InvalidArgumentError

Rule = TypeVar("Rule")
Settings = TypeVar("Settings")
_STATE = ("observe", "state", "load_state")


class GroupFilter(Protocol):
    """Which groups are learnt from."""

    def __call__(self, role_groups: Sequence[RoleGroup]) -> Sequence[bool]:
        """Whether to learn from each of the groups of a batch, in their roles."""
        ...


class BatchRule(Protocol):
    """How advantages are compared over a batch."""

    def __call__(self, role_groups: Sequence[RoleGroup]) -> Sequence[Sequence[Sequence[Advantage]]]:
        """New advantages for each group: as ``credits_G`` is, a row for each episode, an advantage a completion."""
        ...


class EpisodeDraw(Protocol):
    """How the episodes of a group that are trained on are drawn."""

    def __call__(self, role_group: RoleGroup) -> Distribution[tuple[tuple[int, float], ...]]:
        """The distribution of what is selected: pairs of an episode and its weight, 1 for the plain one."""
        ...


@runtime_checkable
class StatefulRule(Protocol):
    """A rule that remembers something over updates. Its result depends on the state, and does not change it.

    The trainer calls ``observe`` once per update, with the groups of all processes, and saves the state with a
    checkpoint. The laboratory analyses the rule in its current state.
    """

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Take the groups of an update into account, for the updates to come."""

    def state(self) -> Mapping[str, Any]:
        """What is remembered, as values that JSON can hold and give back: keys are texts, numbers are Python's own."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""


class Reading(Protocol):
    """What the record of an episode does not say, and the game and the policies of its agents do."""

    def __call__(self, episode: Episode[Any], agent: str, /) -> Completion | None:
        """What an agent would read after an episode: a completion with that prompt; ``None`` if it does not fit."""
        ...

    def spelling(self, agent: str, /) -> Callable[[Sequence[int]], str]:
        """From token ids of the agent's replies to what they stand for."""
        ...


@runtime_checkable
class BindableRule(Protocol):
    """A credit rule or a batch rule that also looks at what the record does not say.

    The trainer and the laboratory call ``bind``, before they use the rule.
    """

    def bind(self, reading: Reading, /) -> None:
        """Learn how episodes are read."""


def find_rule(setting: str, named: Mapping[str, Rule], *, option: str) -> Rule:
    """The rule that a setting names.

    Args:
      setting: a name, or ``module:object``.
      named: the named rules.
      option: name of the setting, for messages.

    Raises:
      InvalidArgumentError: nothing has the name, the module has no such rule, or loading it raises.

    Example:
      >>> find_rule("half", {"half": 0.5}, option="share")
      0.5
      >>> find_rule("math:fsum", {}, option="rule")
      <built-in function fsum>
    """
    if ":" not in setting:
        if setting not in named:
            raise InvalidArgumentError(
                f"'{option}' must be one of {', '.join(named)}, or module:object (got {setting!r})"
            )
        return named[setting]
    module, _, name = setting.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        made = found() if isinstance(found, type) else found
    except Exception as error:  # the user's code runs here, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidArgumentError(f"{option!r} cannot load {setting!r}: {reason}") from error
    if not callable(made):
        raise InvalidArgumentError(f"'{option}' must name a rule (got {setting!r}: {made!r})")
    rule: Rule = made  # what it returns is checked where it is used
    return rule


def made_rule(
    setting: str,
    makers: Mapping[str, Callable[[Settings], Rule]],
    settings: Settings,
    *,
    option: str,
) -> Rule:
    """The rule that a setting names; a named one is made from the run's other settings.

    Args:
      setting: a name, or ``module:object``.
      makers: by name, the function that makes the rule.
      settings: the settings from which a named rule is made.
      option: name of the setting, for messages.

    Raises:
      InvalidArgumentError: nothing has the name, the module has no such rule, or loading it raises.

    Example:
      >>> made_rule("share", {"share": lambda k: k / 4}, 2, option="rule")
      0.5
    """
    if setting in makers:
        return makers[setting](settings)
    unmade: Mapping[str, Any] = makers  # named in the message
    rule: Rule = find_rule(setting, unmade, option=option)
    return rule


def stateful_rules(rules: Mapping[str, object]) -> dict[str, StatefulRule]:
    """The rules that remember something, by their place.

    Args:
      rules: all rules, by their place; ``None`` where there is none.

    Raises:
      InvalidArgumentError: a rule has some of the methods of ``StatefulRule``, but not all.

    Example:
      >>> stateful_rules({"credit": len, "starts": None})
      {}
    """
    for rule in rules.values():
        missing = [name for name in _STATE if not callable(getattr(rule, name, None))]
        if 0 < len(missing) < len(_STATE):
            raise InvalidArgumentError(
                f"{rule_name(rule)} must have all of the methods observe, state and load_state, or none of them "
                f"(got no {' and no '.join(missing)})"
            )
    return {place: rule for place, rule in rules.items() if isinstance(rule, StatefulRule)}


def is_own(rule: object) -> bool:
    """Whether a rule is the user's own, rather than the library's or none.

    Example:
      >>> is_own(len), is_own(functools.partial(find_rule, "half")), is_own(None)
      (True, False, False)
    """
    rule = _whole(rule)
    ours = (getattr(rule, "__module__", None) or "").startswith("algorithms.")
    return rule is not None and not ours


def _whole(rule: object) -> object:
    """The rule of which this one has some arguments filled in; itself if none are."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    return rule


def short_name(rule: object) -> str:
    """The name of a rule: that of the function, or of the object's class."""
    rule = _whole(rule)
    name: str = getattr(rule, "__name__", type(rule).__name__)
    return name


def rule_name(rule: object) -> str:
    """The name of a rule in messages."""
    return f"the rule {short_name(rule)!r}"

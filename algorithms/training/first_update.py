"""Whether a run can learn at all, judged by its first update: the likely cause if not, a reply, and what helps.

``health`` examines several updates in a row, so that a run that learns gets no warning. The faults detected here are
evident after one update, and waiting for more updates of a slow model would be a waste.
"""

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from algorithms.training.health import HealthWarning
from algorithms.training.metrics import Update
from algorithms.training.spec import RunSpec
from lap.policy import POLICY_FILE
from tsmg import AbstractGame, AgentStep, OutcomeKind, Step

# From which share on; a run that learns begins far below, and few groups may all be alike by chance.
_INVALID, _CUT, _SUCCEEDS, _GROUPS = 0.9, 0.5, 0.5, 4
_EXCERPT = 100  # characters of a reply


@attrs.frozen(kw_only=True)
class Situation:
    """What advice depends on, besides what was played: only options that fit the run are named.

    Attributes:
      game: the options that name the game; ``None`` if the run's objects were made in Python, and no options fit.
      model: the checkpoint; ``None`` for a small behaviour-cloned model.
      lora: the adapters, as in the option.
      max_reply_tokens, groups, group_size, temperature: of the method's settings.
      examples, prefill, constrained: what the policy has already.
    """

    game: str | None
    model: str | None
    lora: str | None = None
    max_reply_tokens: int
    groups: int
    group_size: int
    temperature: float
    examples: int = 0
    prefill: bool = False
    constrained: bool = False

    @classmethod
    def of(cls, spec: RunSpec, *, is_given: bool) -> "Situation":
        """The situation of a run.

        Args:
          spec: of the run.
          is_given: whether it plays with objects from Python in place of those that the spec names.
        """
        return cls(
            game=None if is_given else spec.game.options(),
            groups=spec.algorithm.groups,
            model=spec.policy.model,
            lora=spec.policy.lora,
            max_reply_tokens=spec.algorithm.max_reply_tokens,
            group_size=spec.algorithm.group_size,
            temperature=spec.algorithm.temperature,
            examples=spec.policy.examples,
            prefill=spec.policy.prefill,
            constrained=spec.policy.constrained,
        )

    @property
    def has_own_prompt(self) -> bool:
        """Whether the prompt follows from the settings: neither a small cloned model's nor a saved policy's does."""
        return self.model is not None and not (Path(self.model) / POLICY_FILE).is_file()


def first_update_warnings(
    update: Update, game: AbstractGame[Any, Any], situation: Situation
) -> list[HealthWarning]:
    """Why a run cannot learn, one warning per cause; none if it can.

    Truncated replies cause invalid ones, and invalid ones cause groups whose returns are all equal, so only the first
    cause is reported.

    Args:
      update: the first one of the run.
      game: the game that is trained on.
      situation: of the run.
    """
    metrics = update.metrics
    said = list(_said(update))
    invalid, cut = metrics["invalid_rate"] or 0.0, metrics["cut_rate"] or 0.0
    if invalid > _CUT and cut > _CUT:
        return [
            _warning(
                "cut",
                _cut_replies(said, invalid, cut, situation),
                _helps(said, game, situation, longer=True),
            )
        ]
    if invalid > _INVALID:
        return [_warning("invalid", _invalid_replies(said, invalid), _helps(said, game, situation))]
    success = metrics["success_rate"]
    if (metrics["frac_reward_zero_std"] or 0.0) < 1 or situation.groups < _GROUPS:
        return []
    if success is not None and success >= _SUCCEEDS:
        return []
    return [_warning("silent", _silent_groups(said, metrics), _silent_helps(game, situation))]


def _warning(name: str, told: str, helps: Mapping[str, str]) -> HealthWarning:
    """A warning with what helps on lines of their own, to be copied."""
    width = max(map(len, helps), default=0)
    lines = [f"  {option:{width}}  {what}" for option, what in helps.items()]
    advice = [f"{told}; begin anew with one or more of:", *lines] if lines else [told]
    return HealthWarning(name=f"cannot-learn-{name}", message="\n".join(advice))


_Said = tuple[Step[Any], AgentStep]


def _said(update: Update) -> Iterator[_Said]:
    """What language models said, with the steps."""
    for group in update.rollouts.groups:
        for episode in group.episodes:
            for step in episode.steps:
                yield from ((step, one) for one in step.agent_steps if one.reply.completions)


def _is_cut(said: AgentStep) -> bool:
    return not all(completion.finished for completion in said.reply.completions)


def _excerpt(said: list[AgentStep]) -> str:
    """The most frequent reply that says anything, shortened, with control characters escaped."""
    if not said:
        return ""
    texts = [one.reply.text for one in said]
    ((text, _),) = Counter([text for text in texts if text.strip()] or texts).most_common(1)
    return f", such as {text[:_EXCERPT]!r}{'...' if len(text) > _EXCERPT else ''}"


def _cut_replies(said: list[_Said], invalid: float, cut: float, situation: Situation) -> str:
    wasted = [one for _, one in said if not one.is_valid and _is_cut(one)]
    return (
        f"this run cannot learn as it is: {cut:.0%} of the replies are cut at max_reply_tokens = "
        f"{situation.max_reply_tokens}, and {invalid:.0%} name no legal action{_excerpt(wasted)}: the model says more "
        "than the limit allows before it comes to an action"
    )


def _invalid_replies(said: list[_Said], invalid: float) -> str:
    wasted = [one for _, one in said if not one.is_valid]
    unread = sum(one.outcome.kind is OutcomeKind.MALFORMED for one in wasted)
    cause = (
        "the model does not know the form that the parser reads"
        if 2 * unread >= len(wasted)
        else "the model knows the form, but not the actions of the game"
    )
    return (
        f"this run cannot learn as it is: {invalid:.0%} of the replies name no legal action{_excerpt(wasted)}, so that "
        f"no reply is better than another: {cause}"
    )


def _silent_groups(said: list[_Said], metrics: Mapping[str, float | None]) -> str:
    reward = metrics["reward"] or 0.0
    return (
        f"this run learns nothing yet: all returns are equal within every group (their mean is {reward:.3g}), so that "
        f"no episode is better than another{_excerpt([one for _, one in said])}: the game is too hard for the "
        "policy, or the policy always does the same"
    )


def _helps(
    said: list[_Said], game: AbstractGame[Any, Any], situation: Situation, *, longer: bool = False
) -> dict[str, str]:
    """Options and commands against replies that are no actions, each with what it does."""
    if situation.game is None:
        return {}
    helps = {}
    if longer:
        helps[f"--max-reply-tokens {4 * situation.max_reply_tokens}"] = "longer replies"
    if situation.has_own_prompt and not situation.examples:
        helps["--examples 2"] = "the prompt shows replies on other starts of the game"
    if situation.has_own_prompt and not situation.prefill:
        helps["--prefill"] = "the reply is begun for the model, with the parser's opening tag"
    if not situation.constrained and _lists_actions(said, game):
        helps["--constrained"] = "replies are constrained to legal actions"
    if situation.model is None:
        helps["--config FILE"] = "with more steps or episodes under policy.cloning"
    return helps | _clone(game, situation)


def _silent_helps(game: AbstractGame[Any, Any], situation: Situation) -> dict[str, str]:
    """Options and commands against groups whose episodes are all alike."""
    if situation.game is None:
        return {}
    helps = {
        f"--group-size {2 * situation.group_size}": "more episodes of each start",
        f"--temperature {1.5 * situation.temperature:g}": "more varied replies",
    }
    return helps | _clone(game, situation)


def _clone(game: AbstractGame[Any, Any], situation: Situation) -> dict[str, str]:
    """The command that clones the game's player on the checkpoint, where there is one of each."""
    if situation.model is None or game.scripted_player() is None:
        return {}
    lora = "" if situation.lora is None else f" --lora {shlex.quote(situation.lora)}"
    command = f"tsmg clone {situation.game} --model {shlex.quote(situation.model)}{lora}"
    return {command: "first imitates the game's player; then train --model on its folder"}


def _lists_actions(said: list[_Said], game: AbstractGame[Any, Any]) -> bool:
    """Whether the game lists its legal actions, in the first state that a model was asked in."""
    with contextlib.suppress(Exception):  # a game that fails here has been told of already
        return any(game.legal_actions(step.state.state, one.agent) for step, one in said[:1])
    return False

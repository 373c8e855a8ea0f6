"""``clone_policy``: a cloning from its spec."""

import functools
import signal
from pathlib import Path
from typing import Any

import attrs
import torch

import tsmg
from algorithms.cloning.config import Learnt
from algorithms.cloning.demonstrations import (
    AsAsked,
    Demonstration,
    Game,
    demonstrations,
    policy_demonstrations,
)
from algorithms.cloning.recorded import held_out_share, recorded_demonstrations
from algorithms.cloning.run import (
    Cloning,
    CloningReporter,
    CloningResult,
    Shown,
    SilentCloning,
)
from algorithms.distributed.sharding import Sharding
from algorithms.errors import RunStoppedError
from algorithms.runs.atomic import writing
from algorithms.runs.writer import versions
from algorithms.training.clone_spec import CloneSpec, check_folder
from algorithms.training.interruption import Interruption
from algorithms.training.quiet import without_progress_bars
from lap import LanguageAgentPolicy, TransformersModel
from tsmg import AgentPolicy, InvalidArgumentError

Policy = LanguageAgentPolicy[Any]
_Sides = tuple[list[Demonstration], list[Demonstration]]
"""The demonstrations to fit, and candidates for measurements."""

_PLAYER_EPISODES, _POLICY_EPISODES = 2000, 500
_LONGEST = 16  # prompts and replies that are tried for length: those of the most characters


@attrs.frozen(kw_only=True, eq=False)
class _Games:
    """The parts of a game, both with the player that is cloned."""

    fitted: Game
    held_out: Game

    @classmethod
    def of(cls, spec: CloneSpec) -> "_Games":
        game = spec.policy.cloned_game(spec.game.build())
        fitted, held_out = spec.game.split(game)
        return cls(fitted=fitted, held_out=held_out)

    def other_seed(self, seed: int) -> int:
        """The seed of the episodes to measure on; another one where no starts are held out."""
        return seed if self.fitted is not self.held_out else seed + 1


def _shown(spec: CloneSpec, games: _Games, policy: Policy, teacher: AgentPolicy | None) -> Shown:
    """What the model is fitted to, and what it is measured on."""
    if spec.episodes_from is not None:
        fitted, others = _recorded(spec, games, policy)
    elif spec.teacher is None and teacher is None:
        fitted, others = _of_player(spec, games, policy)
    else:
        teacher = teacher or LanguageAgentPolicy.from_pretrained(spec.teacher or "")
        fitted, others = _of_policy(spec, games, policy, teacher)
    return Shown.of(fitted, others, count=spec.fit.measured_prompts)


def _of_player(spec: CloneSpec, games: _Games, policy: Policy) -> _Sides:
    shown = functools.partial(demonstrations, prompt=AsAsked(policy), parser=policy.parser)
    fit = spec.fit
    return (
        shown(games.fitted, episodes=fit.episodes or _PLAYER_EPISODES, seed=fit.seed),
        shown(games.held_out, episodes=fit.measured_prompts, seed=games.other_seed(fit.seed)),
    )


def _of_policy(spec: CloneSpec, games: _Games, policy: Policy, teacher: AgentPolicy) -> _Sides:
    fit = spec.fit
    shown = functools.partial(
        policy_demonstrations,
        teacher=teacher,
        prompt=AsAsked(policy),
        parser=policy.parser,
        replies=fit.replies,
        successful=spec.successful,
    )
    fitted = shown(games.fitted, episodes=fit.episodes or _POLICY_EPISODES, seed=fit.seed)
    try:
        others = shown(
            games.held_out, episodes=fit.measured_prompts, seed=games.other_seed(fit.seed)
        )
    except InvalidArgumentError:  # there are few of them, perhaps none a success
        others = []
    return fitted, others


def _recorded(spec: CloneSpec, games: _Games, policy: Policy) -> _Sides:
    shown = functools.partial(
        recorded_demonstrations,
        game=games.fitted,
        prompt=AsAsked(policy),
        parser=policy.parser,
        successful=spec.successful,
        replies=spec.fit.replies,
    )
    records = spec.records(games.fitted)
    fitted, others = map(shown, held_out_share(records, spec.game.held_out))
    if not fitted:
        fitted, others = others, []
    if not fitted:
        raise InvalidArgumentError(
            f"the policy's parser finds a legal action in none of the replies of {spec.episodes_from!r}"
        )
    return fitted, others


def _with_room(policy: Policy, shown: Shown) -> Policy:
    """The policy, whose replies may be as long as those that are cloned.

    Raises:
      ContextLengthError: a prompt and a reply do not fit the model's context.
    """
    both = (*shown.fitted, *shown.measured)
    texts = sorted({r for one in both for r, _ in one.reply_dist}, key=len)[-_LONGEST:]
    lengths = [n for text in texts if (n := policy.model.reply_length(text)) is not None]
    room = max(lengths, default=0) + 1
    prompts = sorted((one.prompt for one in both), key=lambda prompt: len(prompt.text))[-_LONGEST:]
    policy.model.check_prompts(
        prompts, sampling=attrs.evolve(policy.sampling, max_reply_tokens=room)
    )
    longest = max(policy.sampling.max_reply_tokens, room)
    return policy.with_sampling(attrs.evolve(policy.sampling, max_reply_tokens=longest))


def learnt(spec: CloneSpec, policy: Policy) -> Learnt:
    """Which part of a policy is fitted.

    Args:
      spec: of the cloning.
      policy: as the spec built it.
    """
    if spec.policy.model is None:
        return "fresh network"
    model = policy.model
    has_adapters = isinstance(model, TransformersModel) and model.has_adapters
    return "adapters" if has_adapters else "whole weights"


def clone_policy(
    spec: CloneSpec,
    folder: str | Path,
    *,
    teacher: tsmg.AgentPolicy | None = None,
    reporter: "CloningReporter | None" = None,
    resume: bool = False,
) -> "CloningResult":
    """Fit a checkpoint, or a fresh network, to a player, a policy or recorded episodes; ``tsmg clone`` in Python.

    The policy that is kept, the one nearest to what is cloned on held-out prompts, is in the folder afterwards, and
    ``PolicySpec(model=folder)`` trains it on: of a checkpoint with adapters, these. The first SIGTERM or SIGINT lets
    the current step end, writes a checkpoint and stops; the second one ends the process.

    Args:
      spec: what is fitted to what, and how.
      folder: of the policy; must be new or empty, or hold the cloning that is resumed.
      teacher: a policy to clone, in place of a folder that ``spec`` names.
      reporter: receives news; silent by default.
      resume: continue from the last checkpoint in the folder, with the same spec.

    Returns:
      The result.

    Raises:
      InvalidArgumentError: the spec names no such game, player, policy or episodes, or nothing in them can be cloned.
      ContextLengthError: a prompt and a reply do not fit the model's context.
      ModelError: there is no such checkpoint, or it cannot be loaded.
      RunFolderError: the folder holds something else, or nothing that can be resumed.
      RunStoppedError: a signal stopped it; it can be resumed.
    """
    folder, reporter = Path(folder), reporter or SilentCloning()
    check_folder(folder, resume=resume)
    spec.check(has_teacher=teacher is not None)
    sharding = Sharding("none")
    if sharding.processes.count > 1:
        raise InvalidArgumentError("cloning runs in one process; start it without a launcher")
    torch.set_num_threads(spec.threads)
    with without_progress_bars():
        cloning = _begun(spec, folder, teacher, reporter, sharding)
        with Interruption() as interruption:
            result = cloning.run(lambda: interruption.signal)
    if result is not None:
        return result
    number = interruption.signal or signal.SIGINT
    error = RunStoppedError(
        f"stopped by {signal.Signals(number).name} after step {cloning.fit.done}, with a checkpoint; "
        f"continue with: tsmg clone --resume {folder}"
    )
    error.signal = number
    raise error


def _begun(
    spec: CloneSpec,
    folder: Path,
    teacher: AgentPolicy | None,
    reporter: CloningReporter,
    sharding: Sharding,
) -> Cloning:
    """A cloning at its beginning, or where it was stopped."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    games = _Games.of(spec)
    reporter.stage("making the policy")
    policy = spec.build_policy(games.fitted)
    kind = learnt(spec, policy)
    config = spec.fit.resolved(kind)
    reporter.stage("collecting what is cloned")
    shown = _shown(spec, games, policy, teacher)
    policy = _with_room(policy, shown)
    sharding.place([policy.model])
    measured = "held-out ones" if shown.is_held_out else "of them (none are held out)"
    reporter.stage(
        f"{len(shown.fitted)} prompts to fit, {len(shown.measured)} {measured} to measure; {kind}: "
        f"{config.steps} steps of {config.batch} prompts at most, learning rate {config.learning_rate:g}"
    )
    described = {
        "spec": attrs.evolve(spec, fit=config).to_json(),
        "learnt": kind,
        "given_teacher": teacher is not None,
        "versions": versions(),
    }
    return Cloning(policy, shown, config, folder, described=described, reporter=reporter)

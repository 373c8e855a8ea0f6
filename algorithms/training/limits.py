"""Checks before a run: they refuse settings under which nothing could be played or learnt."""

from collections.abc import Mapping
from typing import Any

from algorithms.method.config import MSGRPOConfig
from algorithms.method.fit_to_game import check_starts_by_success
from algorithms.method.starts import StartRule
from algorithms.play.matchups import AbstractMatchups, distinct_matchups
from algorithms.training.learner import TrainablePolicy
from algorithms.training.opponents import check_constrained
from lap import ConstrainedPolicy
from tsmg import (
    AbstractGame,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    Request,
    step_limit,
)


def check_setup(
    game: AbstractGame[Any, Any],
    matchups: AbstractMatchups,
    policies: Mapping[str, TrainablePolicy],
    config: MSGRPOConfig,
    *,
    constrained: bool = False,
    starts: StartRule | None = None,
) -> None:
    """Refuse what cannot be trained.

    Args:
      game: the game.
      matchups: who plays whom.
      policies: the policies that learn, by agent.
      config: the settings.
      constrained: whether the policies can name only legal actions.
      starts: the rule that chooses where groups begin; the game unless given.

    Raises:
      InvalidArgumentError: the game has no time limit, an agent has no policy, none learns, no action can be written
        within the reply limit, or starts are chosen by success in a game without it, or by that of agents that win
        from each other; of constrained policies, also that legal actions are not listed, or that the settings truncate.
      GameLawError, NotEnumerableError: the first replies of a constrained policy cannot be told apart or listed.
      ContextLengthError: the first prompt and a reply do not fit a model's context.
    """
    step_limit(game)
    check_matchups(game, matchups, policies, config.groups)
    for matchup, _ in distinct_matchups(matchups, policies, config.groups):
        check_starts_by_success(starts, game, len(matchup.learners))
    if constrained:
        check_constrained(game, config)
    check_first_requests(game, policies, constrained=constrained)


def check_matchups(
    game: AbstractGame[Any, Any],
    matchups: AbstractMatchups,
    policies: Mapping[str, TrainablePolicy],
    groups: int,
) -> None:
    """Refuse matchups in which an agent has no policy, or none learns.

    Args:
      game: the game.
      matchups: who plays whom.
      policies: the policies that learn, by agent.
      groups: how many groups an update has.

    Raises:
      InvalidArgumentError: the message names the agents.
    """
    for matchup, _ in distinct_matchups(matchups, policies, groups):
        missing = [agent for agent in game.agents if agent not in matchup.policies]
        if missing or not matchup.learners:
            raise InvalidArgumentError(
                f"'policy' and 'matchups' must give every agent of {game.name} a policy and let "
                f"one learn (without a policy: {missing}; learning: {list(matchup.learners)})"
            )


def check_first_requests(
    game: AbstractGame[Any, Any],
    policies: Mapping[str, TrainablePolicy],
    *,
    constrained: bool = False,
) -> None:
    """Refuse a reply limit within which no legal action of the first move can be written.

    Args:
      game: the game; nothing is checked if its actions cannot be listed.
      policies: the policy of each agent; only models whose reply lengths are known in advance are checked.
      constrained: whether the policies can name only legal actions, so that these must be known.

    Raises:
      InvalidArgumentError: the shortest reply is longer than a reply may be; the message shows both.
      ContextLengthError: the first prompt and a reply do not fit the model's context.
    """
    try:
        requests = Match.begin(game, EpisodeSpec[Any](key=EpisodeKey(seed=0))).requests
    except Exception:  # noqa: BLE001 - the runner meets the same error again, and records it
        return
    for request in requests:
        policy = policies.get(request.history.agent)
        if policy is not None:
            _check(game, policy, request)
        if policy is not None and constrained:
            ConstrainedPolicy(game=game, policy=policy).check(request)


def _check(game: AbstractGame[Any, Any], policy: TrainablePolicy, request: Request) -> None:
    agent, model = request.history.agent, policy.model
    model.check_prompts([policy.reply_key(request)], sampling=policy.sampling)
    replies = [
        policy.parser.wrap(game.action_text(request.state, agent, action))
        for action in game.legal_actions(request.state, agent) or ()
    ]
    given = len(policy.prefill)  # its tokens are not sampled, and do not count
    lengths = [(n, r) for r in replies if (n := model.reply_length(r[given:])) is not None]
    if not lengths:
        return
    length, reply = min(lengths)
    if length > policy.sampling.max_reply_tokens:
        raise InvalidArgumentError(
            f"'max_reply_tokens' must be at least {length} for {game.name}, or no action can be written: "
            f"{reply!r} is {length} tokens (got {policy.sampling.max_reply_tokens})"
        )

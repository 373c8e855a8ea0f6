"""What is refused before a run: settings under which no episode could go well."""

from collections.abc import Mapping
from typing import Any

from lap import LanguageAgentPolicy, TransformersModel
from tsmg import (
    AbstractGame,
    AgentPolicy,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    Request,
)


def check_reply_limit(game: AbstractGame[Any, Any], policies: Mapping[str, AgentPolicy]) -> None:
    """Refuse a reply limit within which no legal action of the first move can be said.

    Args:
      game: what is played; nothing is checked where its actions cannot be listed.
      policies: of each agent; only transformers models are looked at, whose tokens are known.

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
        if isinstance(policy, LanguageAgentPolicy) and isinstance(policy.model, TransformersModel):
            _check(game, policy, request)


def _check(
    game: AbstractGame[Any, Any], policy: LanguageAgentPolicy[TransformersModel], request: Request
) -> None:
    agent, model = request.history.agent, policy.model
    model.encoded([policy.reply_key(request)], sampling=policy.sampling)  # refuses a long prompt
    replies = [
        policy.parser.wrap(game.action_text(request.state, agent, action))
        for action in game.legal_actions(request.state, agent) or ()
    ]
    if not replies:
        return
    length, reply = min((len(model.encoder.untrusted(reply)), reply) for reply in replies)
    if length > policy.sampling.max_reply_tokens:
        raise InvalidArgumentError(
            f"'max_reply_tokens' must be at least {length} for {game.name}, or no action can be said: "
            f"{reply!r} is {length} tokens (got {policy.sampling.max_reply_tokens})"
        )

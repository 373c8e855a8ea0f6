"""Models and opponents by name: what can be refused before anything is loaded, and who plays whom."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import tsmg
from algorithms.method.config import MSGRPOConfig
from tsmg import InvalidArgumentError

if TYPE_CHECKING:  # they import torch
    import lap
    from algorithms.play.matchups import AbstractMatchups

POLICY_FILE = "policy.json"
"""``lap.policy.POLICY_FILE``, without torch."""

Game = tsmg.AbstractGame[Any, Any]
_ENDPOINT_TOKENS = 256  # replies of models that think before they act


def is_endpoint(name: str) -> bool:
    """Whether a name is that of an OpenAI-compatible endpoint."""
    return name.startswith(("http://", "https://"))


def check_checkpoint(name: str, *, gets_adapters: bool = False) -> None:
    """Refuse a folder or a GGUF file that is no checkpoint; a name that is not a path may be known to a hub.

    Args:
      name: the name, as in ``PolicySpec.model``.
      gets_adapters: whether new adapters are to be added.

    Raises:
      InvalidArgumentError: the folder is not there, has no ``config.json``, or has adapters already; or the file is no
        GGUF file, or cannot be read without another package.
    """
    path = Path(name)
    if path.is_file() or path.suffix.lower() == ".gguf":
        _check_file(path)
        return
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or path.exists()
    files = ("config.json", "adapter_config.json", POLICY_FILE)
    if is_path and not any((path / file).is_file() for file in files):
        raise InvalidArgumentError(
            f"no checkpoint at {name!r} (there is no {' and no '.join(files[:2])})"
        )
    if gets_adapters and (path / "adapter_config.json").is_file():
        raise InvalidArgumentError(
            f"{name!r} already has adapters: leave 'lora' out to continue to train them, or fold them into the weights "
            f"first: tsmg merge {name} OUTPUT"
        )


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise InvalidArgumentError(f"no file at {str(file)!r}")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InvalidArgumentError(
                f"{str(file)!r} is not a GGUF file; other checkpoints are folders"
            )
    if importlib.util.find_spec("gguf") is None:
        raise InvalidArgumentError("a GGUF file needs the package gguf: pip install 'tsmg[gguf]'")


def check_endpoint(name: str) -> None:
    """Refuse an endpoint without a model.

    Raises:
      InvalidArgumentError: the name is not of the form URL#model.
    """
    if not name.partition("#")[2]:
        raise InvalidArgumentError(f"an endpoint is given as URL#model (got {name!r})")


def check_examples(game: Game) -> None:
    """Refuse examples of a game that nobody can play as an example.

    Raises:
      InvalidArgumentError: the game has no scripted player.
    """
    if game.scripted_player() is None:
        raise InvalidArgumentError(
            f"'examples' are turns of a game's scripted player, and {game.name} has none"
        )


def endpoint_policy(name: str) -> "lap.LanguageAgentPolicy[Any]":
    """The policy of the model that URL#model names."""
    import lap

    url, _, model = name.partition("#")
    sampling = lap.Sampling(max_reply_tokens=_ENDPOINT_TOKENS)
    return lap.LanguageAgentPolicy(model=lap.EndpointModel(url, model), sampling=sampling)


def check_opponent(
    game: Game, opponent: str, role: str | None, *, model: str | None = None
) -> None:
    """Refuse an opponent or a role that the game does not have, before anything is loaded.

    Args:
      game: what is played.
      opponent: as ``RunSpec`` describes it.
      role: the agent that is not played by the opponent.
      model: the policy that plays against it, as ``PolicySpec`` describes it.

    Raises:
      InvalidArgumentError: the message says which.
    """
    if opponent == "self":
        if role is not None:
            raise InvalidArgumentError("'role' needs an 'opponent' other than self")
        return
    if len(game.agents) == 1:
        raise InvalidArgumentError(
            f"'opponent' needs a game of several agents ({game.name} has one)"
        )
    if role is not None and role not in game.agents:
        raise InvalidArgumentError(f"'role' must be one of {', '.join(game.agents)} (got {role!r})")
    if opponent == "scripted" and game.scripted_player() is None:
        raise InvalidArgumentError(
            f"{game.name} has no scripted player; 'uniform' is an opponent in any game"
        )
    if opponent == "past" and model is not None and is_endpoint(model):
        raise InvalidArgumentError("an endpoint has no past copies: choose another 'opponent'")
    if is_endpoint(opponent):
        check_endpoint(opponent)
    elif opponent not in ("past", "scripted", "uniform"):
        check_saved_policy(opponent)


def check_saved_policy(folder: str) -> None:
    """Refuse a folder that holds no saved policy.

    Raises:
      InvalidArgumentError: the message says what is missing.
    """
    file = Path(folder) / POLICY_FILE
    for path, missing in ((Path(folder), "such folder"), (file, POLICY_FILE)):
        if not path.exists():
            raise InvalidArgumentError(f"no saved policy at {folder!r} (there is no {missing})")


def check_constrained(game: Game, config: MSGRPOConfig) -> None:
    """Refuse to train a constrained policy if its legal actions are unknown, or if settings are incompatible with it.

    Args:
      game: what is played.
      config: the settings; nothing in them may truncate the distribution.

    Raises:
      InvalidArgumentError: the message says which.
    """
    for name in ("top_k", "top_p", "min_p"):
        value = getattr(config, name)
        if value != attrs.fields_dict(MSGRPOConfig)[name].default:
            raise InvalidArgumentError(
                f"'constrained' keeps the legal actions' replies and nothing else: leave {name!r} out (got {value})"
            )
    try:
        requests = tsmg.Match.begin(game, tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=0))).requests
        listed = {r.history.agent: game.legal_actions(r.state, r.history.agent) for r in requests}
    except Exception:  # noqa: BLE001 - the runner meets the same error again, and records it
        return
    for agent, actions in listed.items():
        if not actions:
            raise InvalidArgumentError(
                f"'constrained' needs a game that lists its legal actions: {game.name} lists none for {agent!r}"
            )


def make_matchups(
    game: Game,
    policy: "lap.LanguageAgentPolicy[Any]",
    opponent: str,
    role: str | None,
    *,
    constrained: bool = False,
) -> "AbstractMatchups":
    """Who plays whom.

    Args:
      game: what is played.
      policy: the policy that learns, or is evaluated.
      opponent: as ``RunSpec`` describes it.
      role: the agent that is not played by the opponent; each in turn if unset.
      constrained: whether the policy, and so its past copies, can name only legal actions.
    """
    import lap
    from algorithms.play.matchups import AlternatingRoles, FixedOpponents, SelfPlay
    from algorithms.training.past_opponents import PastOpponents

    if opponent == "self":
        return SelfPlay()
    other: tsmg.AgentPolicy
    if opponent == "past":
        other = PastOpponents(policy, legal_in=game if constrained else None)
    elif opponent in ("scripted", "uniform"):
        scripted = game.scripted_player() if opponent == "scripted" else None
        other = tsmg.PlayerPolicy(game, scripted or tsmg.UniformPlayer(game))
    elif is_endpoint(opponent):
        other = endpoint_policy(opponent)
    else:
        other = lap.LanguageAgentPolicy.from_pretrained(opponent)
    if role is None:
        return AlternatingRoles(other)
    return FixedOpponents({agent: other for agent in game.agents if agent != role})

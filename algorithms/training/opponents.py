"""Models and opponents by name: what can be refused before anything is loaded, and who plays whom."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tsmg
from tsmg import InvalidArgumentError

if TYPE_CHECKING:  # they import torch
    import lap
    from algorithms.play.matchups import AbstractMatchups

Game = tsmg.AbstractGame[Any, Any]
_ENDPOINT_TOKENS = 256  # replies of models that think before they act


def is_endpoint(name: str) -> bool:
    """Whether a name is that of an OpenAI-compatible endpoint."""
    return name.startswith(("http://", "https://"))


def check_checkpoint(name: str, *, gets_adapters: bool = False) -> None:
    """Refuse a folder or a GGUF file that is no checkpoint; a name that is no path may be known elsewhere.

    Args:
      name: as ``PolicySpec.model`` has it.
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
    files = ("config.json", "adapter_config.json", "policy.json")
    if is_path and not any((path / file).is_file() for file in files):
        raise InvalidArgumentError(
            f"no checkpoint at {name!r} (there is no {' and no '.join(files[:2])})"
        )
    if gets_adapters and (path / "adapter_config.json").is_file():
        raise InvalidArgumentError(
            f"{name!r} has adapters, which are learnt further without 'lora'; to add new ones, fold them into the "
            f"weights first: tsmg merge {name} OUTPUT"
        )


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise InvalidArgumentError(f"there is no file {str(file)!r}")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InvalidArgumentError(
                f"{str(file)!r} is no GGUF file; a checkpoint of another kind is a folder"
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


def endpoint_policy(name: str) -> "lap.LanguageAgentPolicy[Any]":
    """The policy of the model that URL#model names."""
    import lap

    url, _, model = name.partition("#")
    sampling = lap.Sampling(max_reply_tokens=_ENDPOINT_TOKENS)
    return lap.LanguageAgentPolicy(model=lap.EndpointModel(url, model), sampling=sampling)


def check_opponent(game: Game, opponent: str, role: str | None) -> None:
    """Refuse an opponent or a role that the game does not have, before anything is loaded.

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
    if is_endpoint(opponent):
        check_endpoint(opponent)
    elif opponent not in ("past", "scripted", "uniform"):
        file = "policy.json"  # lap.policy.POLICY_FILE, without torch
        for path, missing in ((Path(opponent), "such folder"), (Path(opponent) / file, file)):
            if not path.exists():
                raise InvalidArgumentError(
                    f"no saved policy at {opponent!r} (there is no {missing})"
                )


def make_matchups(
    game: Game, policy: "lap.LanguageAgentPolicy[Any]", opponent: str, role: str | None
) -> "AbstractMatchups":
    """Who plays whom.

    Args:
      game: what is played.
      policy: the policy that learns, or is evaluated.
      opponent: as ``RunSpec`` describes it.
      role: the agent that is not played by the opponent; each in turn if unset.
    """
    import lap
    from algorithms.play.matchups import AlternatingRoles, FixedOpponents, SelfPlay
    from algorithms.training.past_opponents import PastOpponents

    if opponent == "self":
        return SelfPlay()
    other: tsmg.AgentPolicy
    if opponent == "past":
        other = PastOpponents(policy)
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

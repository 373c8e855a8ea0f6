"""Contestants of a suite: players that need no model, and policies of models, by name."""

import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import attrs

from algorithms.play.optimum import OptimalPlayer
from algorithms.runs.atomic import file_hash
from algorithms.runs.checkpoints import newest_policy
from algorithms.runs.writer import versions
from algorithms.suite.place import Place
from algorithms.training.opponents import is_endpoint
from algorithms.training.plain_data import to_plain
from algorithms.training.policies import with_replies
from algorithms.training.policy_spec import PolicySpec
from lap import ConstrainedPolicy
from lap.models.loading import find_checkpoint
from tsmg import AgentPolicy, AnyPlayer, InvalidArgumentError, PlayerPolicy, UniformPlayer

UNIFORM: Final = "uniform"
PLAYERS: Final = (UNIFORM, "scripted", "optimum")
"""The contestants that need no model."""
CLONE: Final = "clone"
"""The small model that is cloned from each game's scripted player."""


@final
@attrs.frozen(kw_only=True, slots=False)
class Contestant:
    """A contestant of a suite.

    Attributes:
      name: as it was given; also its column in the table.
      spec: the policy of a model; ``None`` for one of ``PLAYERS``.
      temperature: sampling temperature of a model; its own if ``None``.
      max_reply_tokens: the maximum length of a model's replies; its own if ``None``.
    """

    name: str
    spec: PolicySpec | None = None
    temperature: float | None = None
    max_reply_tokens: int | None = None

    @classmethod
    def named(
        cls,
        name: str,
        *,
        settings: PolicySpec | None = None,
        temperature: float | None = None,
        max_reply_tokens: int | None = None,
    ) -> "Contestant":
        """The contestant with a name.

        Args:
          name: one of ``PLAYERS``; ``clone``; the folder of a run (its newest policy), of a saved policy or of a
            checkpoint; the name of a checkpoint; or an endpoint as URL#model.
          settings: of the policies of models; its own ``model`` does not matter.
          temperature: sampling temperature of a model; its own unless given.
          max_reply_tokens: the maximum length of a model's replies; its own unless given.

        Raises:
          InvalidArgumentError: there is no such policy, or the settings do not fit it.
        """
        if name in PLAYERS:
            return cls(name=name)
        near = difflib.get_close_matches(name, (*PLAYERS, CLONE), n=1, cutoff=0.75)
        if near and name != CLONE and not Path(name).exists():
            raise InvalidArgumentError(f"no policy is called {name!r}; did you mean {near[0]!r}?")
        model = None if name == CLONE else name
        if model is not None and Path(model).is_dir():
            model = str(newest_policy(Path(model)))
        spec = attrs.evolve(settings or PolicySpec(), model=model)
        spec.check()
        return cls(name=name, spec=spec, temperature=temperature, max_reply_tokens=max_reply_tokens)

    def resolve(self) -> None:
        """Find the checkpoint that it names, in a folder, on the hub or in the hub's cache, without loading it.

        Raises:
          ModelError: there is none, or it cannot be reached.
        """
        model = None if self.spec is None else self.spec.model
        if model is not None and not is_endpoint(model):
            find_checkpoint(model)

    def identity(self) -> dict[str, Any]:
        """What its play depends on besides the game; the key of the cache."""
        if self.spec is None:
            return {"player": self.name}
        return {
            "policy": to_plain(self.spec),
            "temperature": self.temperature,
            **({"max_reply_tokens": self.max_reply_tokens} if self.max_reply_tokens else {}),
            "files": self._files,
            "versions": versions(),
        }

    @functools.cached_property
    def _files(self) -> Mapping[str, str]:
        """A hash of each file of a local model, as it is when it is first asked for; none for what lies elsewhere."""
        model = None if self.spec is None else self.spec.model
        if model is None or is_endpoint(model) or not Path(model).exists():
            return {}
        path = Path(model)
        if path.is_file():
            return {path.name: file_hash(path)}
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file_hash(file) for file in files}

    def policy(self, place: Place) -> AgentPolicy | None:
        """Its policy for a game; ``None`` if there is no such player, or the optimum cannot be computed.

        Args:
          place: the game.

        Raises:
          TSMGError: the model cannot be loaded, or does not fit the game.
        """
        if self.spec is None:
            player = self._player(place)
            return None if player is None else PlayerPolicy(place.game, player)
        if self.spec.model is None and place.training_game.scripted_player() is None:
            return None
        policy = self.spec.build(place.training_game, seed=0)
        policy = with_replies(
            policy, temperature=self.temperature, max_reply_tokens=self.max_reply_tokens
        )
        if self.spec.constrained:
            return ConstrainedPolicy(game=place.game, policy=policy)
        return policy

    def _player(self, place: Place) -> AnyPlayer | None:
        if self.name == UNIFORM:
            return UniformPlayer(place.game)
        if self.name == "scripted":
            return place.game.scripted_player()
        is_computed = place.declared.best == "optimum"
        return OptimalPlayer(place.game, place.opponent) if is_computed else None

"""A game of a suite as it is played: its parts, the opponent, the episodes, and the exact optimum of them."""

import hashlib
import importlib
import inspect
import marshal
import re
from importlib import metadata
from pathlib import Path
from typing import Any, final

import attrs

from algorithms.play.matchups import AbstractMatchups, AlternatingRoles, SelfPlay
from algorithms.play.optimum import STATE_LIMIT, optimal_return
from algorithms.play.rollouts import fixed_starts
from algorithms.suite.spec import Suite, SuiteGame
from algorithms.training.plain_data import to_plain
from tsmg import (
    AbstractGame,
    AnyPlayer,
    EpisodeSpec,
    InvalidArgumentError,
    PlayerPolicy,
    UniformPlayer,
    registered,
    step_limit,
)
from tsmg.wrapped import AbstractWrappedGame

Game = AbstractGame[Any, Any]


@final
@attrs.frozen(kw_only=True, eq=False)
class Place:
    """A game of a suite as it is played.

    Attributes:
      declared: the game as the suite declares it.
      training_game: the part of it that a clone is made on.
      game: the part that is played.
      opponent: who plays the other roles; ``None`` in a game of one agent.
      seed: seed of the episodes.
      specs: the episodes, the same for every policy.
    """

    declared: SuiteGame
    training_game: Game
    game: Game
    opponent: AnyPlayer | None
    seed: int
    specs: tuple[EpisodeSpec[Any], ...]

    @classmethod
    def of(cls, suite: Suite, declared: SuiteGame) -> "Place":
        """The place of a game of a suite."""
        whole = declared.game.build()
        training_game, game = declared.game.split(whole)
        opponent = None
        if declared.opponent != "none":
            scripted = whole.scripted_player() if declared.opponent == "scripted" else None
            opponent = scripted or UniformPlayer(whole)
        return cls(
            declared=declared,
            training_game=training_game,
            game=game,
            opponent=opponent,
            seed=suite.seed,
            specs=tuple(fixed_starts(game, suite.episodes, seed=suite.seed)),
        )

    @property
    def matchups(self) -> AbstractMatchups:
        """Who plays whom: each role in turn is the policy's."""
        if self.opponent is None:
            return SelfPlay()
        return AlternatingRoles(PlayerPolicy(self.game, self.opponent))

    def optimum(self) -> list[float]:
        """The exact optimum of each episode, in the order in which an evaluation has their returns.

        Raises:
          InvalidArgumentError: it cannot be computed.
        """
        agents, limit = self.game.agents, step_limit(self.game)
        found: dict[tuple[str, Any], float | None] = {}
        values = []
        for n in sorted(range(len(self.specs)), key=lambda n: (n % len(agents), n)):
            start = self.specs[n].start
            place = (agents[n % len(agents)], None if start is None else start.state.state)
            if start is not None and place not in found and self._hides_nothing:
                found[place] = optimal_return(
                    self.game, place[1], limit - start.t, agent=place[0], others=self.opponent
                )
            value = found.get(place)
            if value is None:
                raise InvalidArgumentError(
                    f"'best' of {self.declared.title!r} must be scripted or known: the optimum is computed of explicit "
                    f"games that hide nothing and have at most {STATE_LIMIT} states"
                )
            values.append(value)
        return values

    @property
    def _hides_nothing(self) -> bool:
        return self.game.facts.perfect_information is True

    def identity(self) -> dict[str, Any]:
        """What the play depends on besides the policy: settings, fields and sources of the game and its players."""
        declared = {"game": self.declared.game, "opponent": self.declared.opponent}
        bare, id = _bare(self.game), self.declared.game.id
        builders = [importlib.import_module(id.partition(":")[0])] if ":" in id else []
        return {
            "tsmg": metadata.version("tsmg"),
            **{name: to_plain(value) for name, value in declared.items()},
            "episodes": len(self.specs),
            "seed": self.seed,
            "fields": _fixed_text(
                {one.id: one.kwargs for one in registered() if one.id == id}, bare
            ),
            "sources": _sources_digest(*builders, type(bare), type(self.game.scripted_player())),
        }


def _bare(game: Game) -> Game:
    while isinstance(game, AbstractWrappedGame):
        game = game.inner
    return game


def _fixed_text(*things: object) -> str:
    """How things are written, without addresses in memory, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(things))


def _sources_digest(*things: Any) -> str:
    """A hash of the files in which some classes and modules are written; of the code where there is no file."""
    digest = hashlib.blake2b(digest_size=16)
    for content in sorted({_source(one) for one in things}):
        digest.update(content)
    return digest.hexdigest()


def _source(thing: Any) -> bytes:
    """The file of a class or module; the compiled methods of a class that a notebook holds."""
    try:
        return Path(inspect.getsourcefile(thing) or "").read_bytes()
    except (TypeError, OSError):
        methods = (getattr(value, "fget", value) for value in vars(thing).values())
        codes = (getattr(method, "__code__", None) for method in methods)
        return b"".join(marshal.dumps(code) for code in codes if code is not None)

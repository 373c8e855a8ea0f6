"""The declaration of a suite: a TOML file of games, each with a level, an opponent and the best known play."""

from importlib import resources
from pathlib import Path
from typing import Literal

import attrs

from algorithms.method.settings import one_of, within
from algorithms.training.game_spec import GameSpec
from algorithms.training.opponents import check_opponent
from algorithms.training.plain_data import from_plain, read_settings
from tsmg import AnyGame, InvalidArgumentError, Stream, UnknownGameError

_STEPS = 20  # of uniform play, after which a game that lists its actions is taken to go on so
Level = Literal["easy", "medium", "hard"]
Opponent = Literal["none", "scripted", "uniform"]
Best = Literal["known", "optimum", "scripted"]


@attrs.frozen(kw_only=True)
class SuiteGame:
    """A game of a suite.

    Attributes:
      name: in tables; the game's id unless given.
      level: its difficulty.
      game: the game, its arguments and the share of its starts that is held out; the held-out part is played.
      opponent: who plays the other roles, each role being the policy's in turn; ``none`` in a game of one agent.
      best: what scores 1: ``optimum`` is the exact optimum of the same starts, ``scripted`` the return of the game's
        own player on them, ``known`` the return below.
      best_return: the mean return of the best known play, over all roles.
      source: where that return comes from.
    """

    name: str = ""
    level: Level = attrs.field(validator=one_of)
    game: GameSpec
    opponent: Opponent = attrs.field(default="none", validator=one_of)
    best: Best = attrs.field(default="optimum", validator=one_of)
    best_return: float | None = None
    source: str = ""

    def __attrs_post_init__(self) -> None:
        is_known = self.best == "known"
        if is_known != (self.best_return is not None) or is_known != bool(self.source):
            raise InvalidArgumentError(
                "'best_return' and its 'source' must be given where 'best' is known, and nowhere else "
                f"(got best {self.best!r}, best_return {self.best_return!r}, source {self.source!r})"
            )

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.name or self.game.id


@attrs.frozen(kw_only=True)
class Suite:
    """Games on which any policies can be compared.

    Attributes:
      title: what the suite is.
      episodes: number of episodes of each game.
      seed: seed of the episodes.
      games: the games.
    """

    title: str
    episodes: int = attrs.field(default=200, validator=within(2))
    seed: int = 0
    games: tuple[SuiteGame, ...]

    def check(self) -> None:
        """Refuse what can be refused before anything is played.

        Raises:
          InvalidArgumentError: there is no such game, two have one name, a game does not list its actions, or the
            opponent does not fit the game.
        """
        titles = [game.title for game in self.games]
        if not titles or len(set(titles)) < len(titles):
            raise InvalidArgumentError(
                f"'games' must be at least one table [[games]], with different names (got {titles})"
            )
        for game in self.games:
            built = game.game.build()
            is_alone = len(built.agents) == 1
            if is_alone != (game.opponent == "none"):
                raise InvalidArgumentError(
                    f"'opponent' of {game.title!r} must be {'none' if is_alone else 'scripted or uniform'}: "
                    f"{built.name} has {len(built.agents)} agents (got {game.opponent!r})"
                )
            _check_listed(built, game.title)
            if not is_alone:
                check_opponent(built, game.opponent, None)
            if game.best == "scripted" and built.scripted_player() is None:
                raise InvalidArgumentError(
                    f"'best' of {game.title!r} must be optimum or known: {built.name} has no scripted player"
                )

    def only(self, titles: tuple[str, ...]) -> "Suite":
        """The suite restricted to games with these names; all if no names are given.

        Raises:
          InvalidArgumentError: it has no game with one of the names.
        """
        known = [game.title for game in self.games]
        for title in titles:
            if title not in known:
                raise InvalidArgumentError(
                    f"the suite has no game {title!r}; there are {', '.join(known)}"
                )
        kept = tuple(game for game in self.games if not titles or game.title in titles)
        return attrs.evolve(self, games=kept)


def _check_listed(game: AnyGame, title: str) -> None:
    """Refuse a game whose actions are free texts, by a few steps of uniform play.

    Raises:
      InvalidArgumentError: it does not list the actions of an agent.
    """
    rng = Stream("actions of a suite's game")
    state = game.sample_initial_state(rng)
    for _ in range(_STEPS):
        if game.is_terminal(state):
            return
        joint_action = {}
        for agent in game.acting_agents(state):
            legal = game.legal_actions(state, agent)
            if legal is None:
                raise InvalidArgumentError(
                    f"'games' must not have {title!r}: {game.name} does not list the actions of {agent!r}, and "
                    "uniform play, which scores 0, draws from them"
                )
            joint_action[agent] = rng.choice(legal)
        state = game.sample_transition(state, joint_action, rng).state


def shipped() -> Path:
    """The suite that comes with the library: twelve games by difficulty."""
    return Path(str(resources.files("algorithms.suite"))) / "twelve.toml"


def read_suite(file: str | Path) -> Suite:
    """Read and check the declaration of a suite.

    Args:
      file: a TOML or JSON file.

    Raises:
      InvalidArgumentError: it cannot be read, a key is missing or unknown, or a value breaks its rule; the message
        names file, section and key.
    """
    source = repr(str(file))
    suite = from_plain(Suite, read_settings(file), source=source)
    try:
        suite.check()
    except (InvalidArgumentError, UnknownGameError) as error:
        raise InvalidArgumentError(f"{source}: {error}") from error
    return suite

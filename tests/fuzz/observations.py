"""phi: the texts of states, of games made of games and of adapted environments whose own texts are hostile."""

import functools
from typing import Any

import gymnasium
import pettingzoo
from gymnasium import spaces

import games
from games.adapters.ansi import legible
from tests.fuzz.actions import SPACES, Game, all_games
from tests.fuzz.guard import Case, declared, wrong
from tests.fuzz.source import Source
from tsmg import GameLawError, Stream, split_starts, with_texts

MODULES = (
    "tsmg.game",
    "tsmg.combinators",
    "games.adapters.ansi",
    "games.adapters.spaces",
)
CASES = 60_000
_STEPS = 4


class Shouter(gymnasium.Env[Any, Any]):
    """Shows whatever it is told, as an observation or as a rendering."""

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 - as the library has it
    action_space = spaces.Discrete(2)

    def __init__(self, observation_space: Any, shown: list[Any], render_mode: str | None) -> None:
        self.observation_space = observation_space
        self.shown = shown
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.shown[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.shown[1], 1.0, False, False, {}

    def render(self) -> Any:
        return str(self.shown[0])


class Pair(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """Two agents of any names, who read any texts."""

    metadata = {"name": "pair", "render_modes": []}  # noqa: RUF012 - as the library has it

    def __init__(self, names: tuple[str, ...], text: str) -> None:
        self.possible_agents = list(names)
        self.agents: list[str] = []
        self.text = text

    def observation_space(self, agent: str) -> Any:
        return spaces.Text(10_000, min_length=0)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.agents = list(self.possible_agents)
        return dict.fromkeys(self.agents, self.text), {agent: {} for agent in self.agents}

    def step(self, actions: Any) -> tuple[Any, ...]:
        here = self.agents
        return tuple(dict.fromkeys(here, value) for value in (self.text, 0.0, False, False, {}))


def check_texts(game: Game, state: Any) -> None:
    """All that a game says in a state is text, and the same text twice."""
    for agent in game.agents:
        for told in (
            lambda a=agent: game.observation_text(state, a),
            lambda a=agent: game.rules_text(a),
        ):
            if not isinstance(told(), str) or told() != told():
                raise wrong("wrong", f"a text of the game is {told()!r}")
        hash(game.information_key(state, agent))
    if not isinstance(game.instance_key(state), str):
        raise wrong("wrong", "the key of an instance is no text")


def walk(game: Game, source: Source) -> None:
    """A few steps with legal actions."""
    state = game.sample_initial_state(Stream("fuzz", source.integer(0, 255)))
    for step in range(_STEPS):
        check_texts(game, state)
        if game.is_terminal(state):
            return
        joint = {
            a: source.choice(game.legal_actions(state, a) or ()) for a in game.acting_agents(state)
        }
        state = game.sample_transition(state, joint, Stream("fuzz", step)).state


def adapted(source: Source) -> Game:
    """An environment of a stranger as a game."""
    if source.one_in(2):
        names = (source.text(), source.text())
        made = functools.partial(Pair, names, source.text())
        return games.from_pettingzoo(made, horizon=3, fresh_chance=False)
    if source.one_in(2):
        space: Any = spaces.Text(10_000, min_length=0)
        shown: list[Any] = [source.text(), source.text()]
    else:
        space = source.choice(SPACES)
        space.seed(source.integer(0, 255))
        shown = [space.sample(), space.sample()]
    mode = source.choice((None, "ansi"))
    return games.from_gymnasium(lambda: Shouter(space, shown, mode), horizon=3)


def derived(source: Source) -> Game:
    """A game that shows hostile texts in place of its own, perhaps with some starts held out."""
    text = source.text()
    game = with_texts(
        source.choice(all_games()), observation_text=lambda state, agent: f"{text}{state}"
    )
    if not game.facts.start_is_instance or source.one_in(2):
        return game
    return split_starts(with_key(game, text), source.choice(("train", "held_out")), held_out=0.5)


def with_key(game: Any, text: str) -> Game:
    """The game with starts that are told apart by hostile texts."""
    inner = game.instance_key
    game.instance_key = lambda start: text + inner(start)
    return game  # type: ignore[no-any-return]


def prepare() -> Case:
    def case(source: Source) -> None:
        kind = source.integer(0, 3)
        if kind == 0:
            with declared():
                walk(adapted(source), source)
        elif kind == 1:
            with declared(GameLawError):
                walk(derived(source), source)
        elif kind == 2:
            walk(source.choice(all_games()), source)
        else:
            text = legible(source.text(("\x1b[41m", "\x1b[0m", "\x1b[", "m", ";4", "x", "\n")))
            if not isinstance(text, str):
                raise wrong("wrong", f"a rendering became {text!r}")

    return case

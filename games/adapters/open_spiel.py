"""OpenSpiel games as games.

An OpenSpiel state can be copied, so these games are explicit. A state is a decision or terminal node of the game's
tree, and is told from others by its history. Chance nodes are no states: the distribution of a transition leads over
all chance nodes that follow, and the distribution of the start over those at the root.
"""

import functools
import importlib
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal, final

import attrs

from games.adapters.live import readable
from games.arguments import to_horizon
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Facts,
    Finite,
    GameLawError,
    InvalidArgumentError,
    NotEnumerableError,
    Stream,
    Transition,
    uniform,
)
from tsmg.distribution import ENUMERATION_LIMIT, Probability
from tsmg.invalid import AbstractInvalidRule, Forfeit

Source = Literal["observation", "information"]
TextOf = Callable[[Any, int], str]

_LISTED = 2000
_LONGEST_CHANCE = 500
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BETTER_SEEN = ("battleship", "kriegspiel", "solitaire")
"""Games whose information state is a log of moves, where the observation shows a board."""
_PAID_APART = ("repeated_leduc_poker",)
"""Zero-sum games that pay one player at one step and the other at the next."""


def from_open_spiel(
    game: Any,
    *,
    horizon: int | None = None,
    text: Source | None = None,
    observation_text: TextOf | None = None,
    rules: str = "",
    **parameters: Any,
) -> "OpenSpielGame":
    """An OpenSpiel game as an explicit game of the agents ``player_0``, ``player_1``, ...

    A text that is not legal is a forfeit; ``tsmg.with_invalid_rule`` changes that.

    Args:
      game: a name such as ``"kuhn_poker"``, with parameters or without (``"kuhn_poker(players=3)"``), or a
        ``pyspiel.Game``.
      horizon: time limit H, in steps; OpenSpiel's longest game unless given.
      text: which of OpenSpiel's strings an agent reads: the ``"observation"`` of the present, or the
        ``"information"`` state, which also holds what the player remembers. Unless given, the information state
        where information is imperfect and the game has one, and the observation elsewhere.
      observation_text: from an OpenSpiel state (which it must not change) and a player's number to the text, in
        place of OpenSpiel's own.
      rules: what a newcomer must be told.
      **parameters: parameters of the game.

    Raises:
      ImportError: OpenSpiel is not installed.
      InvalidArgumentError: OpenSpiel has no such game; it is a mean-field game, or draws chance inside; it has no
        such string, or one of over 4,000 characters. The message says what to pass, if that helps.

    Example:
      >>> poker = from_open_spiel("kuhn_poker")
      >>> len(poker.initial_state_dist().support())
      6
    """
    library = _library()
    spiel = _loaded(library, game, parameters)
    _check_kind(library, spiel)
    made = OpenSpielGame(
        spiel=spiel,
        source=_source(library, spiel, text, observation_text),
        own_text=observation_text,
        rules=rules,
        horizon=spiel.max_game_length() if horizon is None else horizon,
        invalid_rule=Forfeit(penalty=_greatest_loss(spiel)),
        facts=_facts(library, spiel, with_own_text=observation_text is not None),
    )
    try:
        _probe(made)
    except library.SpielError as error:
        raise InvalidArgumentError(
            f"'game' must tell legal actions and texts by OpenSpiel's common interface (got {made.name}): {error}"
        ) from error
    readable(made)
    return made


def _library() -> Any:
    try:
        return importlib.import_module("pyspiel")
    except ModuleNotFoundError as error:
        raise ImportError(
            "from_open_spiel needs OpenSpiel, an optional package: pip install 'tsmg[open-spiel]'"
        ) from error


def _loaded(library: Any, game: Any, parameters: Mapping[str, Any]) -> Any:
    """The ``pyspiel.Game``."""
    if isinstance(game, library.Game):
        if parameters:
            raise InvalidArgumentError(
                f"'parameters' must be empty where 'game' is made already (got {dict(parameters)})"
            )
        return game
    short = str(game).partition("(")[0]
    if short.startswith("python_"):
        importlib.import_module("open_spiel.python.games")  # registers them
    if short not in library.registered_names():
        raise InvalidArgumentError(f"'game' must be a game of OpenSpiel or its name (got {game!r})")
    try:
        return library.load_game(game, dict(parameters)) if parameters else library.load_game(game)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:  # SpielError among them
        raise InvalidArgumentError(
            f"'parameters' must be those of {short!r} (got {game!r}, {dict(parameters)}): {error}"
        ) from error


def _check_kind(library: Any, spiel: Any) -> None:
    kind = library.GameType
    if spiel.get_type().dynamics == kind.Dynamics.MEAN_FIELD:
        raise InvalidArgumentError(
            f"'game' must have finitely many players: a mean-field game depends on the distribution of a whole "
            f"population (got {spiel})"
        )
    if spiel.get_type().chance_mode == kind.ChanceMode.SAMPLED_STOCHASTIC:
        raise InvalidArgumentError(
            f"'game' must state its chance: this one draws it inside OpenSpiel, from a generator that no seed of "
            f"ours reaches (got {spiel})"
        )


def _source(
    library: Any, spiel: Any, text: Source | None, observation_text: TextOf | None
) -> Source:
    """Which of OpenSpiel's strings is shown."""
    kind = spiel.get_type()
    provided: dict[Source, bool] = {
        "observation": kind.provides_observation_string,
        "information": kind.provides_information_state_string,
    }
    if text is not None and not provided.get(text):
        names = [name for name, is_there in provided.items() if is_there]
        raise InvalidArgumentError(f"'text' must be one that {spiel} has: {names} (got {text!r})")
    if not any(provided.values()) and observation_text is None:
        raise InvalidArgumentError(
            f"'observation_text' must be given: {spiel} has no texts (got None)"
        )
    hidden = kind.information == library.GameType.Information.IMPERFECT_INFORMATION
    remembered = hidden and kind.short_name not in _BETTER_SEEN and provided["information"]
    return text or ("information" if remembered or not provided["observation"] else "observation")


def _greatest_loss(spiel: Any) -> float:
    loss = -float(spiel.min_utility())
    return max(1.0, loss) if math.isfinite(loss) else 1.0


def _facts(library: Any, spiel: Any, *, with_own_text: bool) -> Facts:
    """What OpenSpiel says for sure; ``None`` where its word is a default or an upper bound of a kind of games."""
    kind, types = spiel.get_type(), library.GameType
    bounds = float(spiel.min_utility()), float(spiel.max_utility())
    hides = kind.information == types.Information.IMPERFECT_INFORMATION
    is_zero_sum = kind.utility == types.Utility.ZERO_SUM and kind.short_name not in _PAID_APART
    return Facts(
        zero_sum=is_zero_sum or None,
        # Never True: states are histories, and a board does not tell how it came about.
        perfect_information=False if hides and not with_own_text else None,
        stochastic_start=_branches(spiel.new_initial_state()),
        stochastic_transitions=(
            False if kind.chance_mode == types.ChanceMode.DETERMINISTIC else None
        ),
        return_bounds=bounds if all(map(math.isfinite, bounds)) else None,
        longest_game=spiel.max_game_length(),
    )


def _branches(node: Any) -> bool:
    """Whether chance at a node, or at those that follow before anybody acts, has more than one outcome."""
    while node.is_chance_node():
        outcomes = [action for action, p in node.chance_outcomes() if p]
        if len(outcomes) > 1:
            return True
        node = node.child(outcomes[0])
    return False


def _probe(game: "OpenSpielGame") -> None:
    state = game.sample_initial_state(Stream("probe"))
    for agent in game.agents:
        game.legal_actions(state, agent)
        game.observation_text(state, agent)


# ---- states -------------------------------------------------------------------------------------


@final
@attrs.frozen(cache_hash=True)
class Position:
    """A decision or terminal node of the game's tree; positions of equal history are equal.

    Attributes:
      history: the actions so far, those of chance among them, joint actions player by player.
      node: OpenSpiel's state, which nobody changes.
    """

    history: tuple[int, ...]
    node: Any = attrs.field(eq=False, repr=False)

    @functools.cached_property
    def choices(self) -> Mapping[int, Mapping[int, str]]:
        """Each acting player's legal actions, and the canonical text of each."""
        if self.node.is_terminal():
            return {}
        if not self.node.is_simultaneous_node():
            player = self.node.current_player()
            return {player: _named(self.node, player)}
        players = range(self.node.num_players())
        return {player: _named(self.node, player) for player in players if self._has_choice(player)}

    def _has_choice(self, player: int) -> bool:
        return bool(self.node.legal_actions(player))


def _named(node: Any, player: int) -> dict[int, str]:
    """Legal actions and their texts, which differ also after folding; a number tells namesakes apart."""
    actions = node.legal_actions(player)
    plain = {a: " ".join(node.action_to_string(player, a).split()) for a in actions}
    count = Counter(text.casefold() for text in plain.values())
    texts = {a: t if t and count[t.casefold()] == 1 else f"{t} [{a}]" for a, t in plain.items()}
    if len({text.strip().casefold() for text in texts.values()}) < len(texts):
        return {action: str(action) for action in actions}
    return {action: text.strip() for action, text in texts.items()}


@final
class Chance(Distribution[Transition[Position]]):
    """Where the play goes from a node: itself, or, while chance is to move, one draw after the other.

    Lazily drawn, as ``Distribution.then`` is, but taken as finite without a walk over all deals. (A walk without an
    end, as where Crazy Eights deals a card again and again until it is no eight, is noticed when it is made.)

    Args:
      node: OpenSpiel's state, which is left as it is.
    """

    def __init__(self, node: Any) -> None:
        self._node = node

    def __repr__(self) -> str:
        return f"Chance(after {self._node.history()})"

    @property
    def is_finite(self) -> bool:
        return True

    def sample(self, rng: Stream) -> Transition[Position]:
        node = self._node
        if node.is_chance_node():
            node = node.child(_outcomes(node).sample(rng))  # the only copy: states may be large
            while node.is_chance_node():
                node.apply_action(_outcomes(node).sample(rng))
        return _arrived(node)

    def enumerate(
        self, limit: int = ENUMERATION_LIMIT
    ) -> Iterator[tuple[Transition[Position], Probability]]:
        waiting: list[Iterator[tuple[Any, Probability]]] = [iter(((self._node, 1),))]
        while waiting:
            node, probability = next(waiting[-1], (None, 0))
            if node is None:
                waiting.pop()
            elif not node.is_chance_node():
                yield _arrived(node), probability
            elif len(waiting) <= _LONGEST_CHANCE:
                waiting.append(_followers(node, probability))
            else:
                raise NotEnumerableError(
                    f"{self!r} cannot be enumerated: chance may move more than {_LONGEST_CHANCE} times in a row"
                )


def _followers(node: Any, probability: Probability) -> Iterator[tuple[Any, Probability]]:
    """The nodes after a chance node, each with the probability of its whole way."""
    for action, conditional in _outcomes(node).enumerate():
        if conditional:
            yield node.child(action), probability * conditional


def _outcomes(node: Any) -> Finite[int]:
    """The distribution at a chance node, in fractions where all outcomes are equally likely.

    Raises:
      GameLawError: there is no outcome, by a fault in OpenSpiel's game.
    """
    outcomes = node.chance_outcomes()
    if not outcomes:
        raise GameLawError(
            f"OpenSpiel gives chance no outcome after {node.history()} of {node.get_game()}"
        )
    if len({probability for _, probability in outcomes}) == 1:
        return uniform(action for action, _ in outcomes)
    return Finite(outcomes)


def _arrived(node: Any) -> Transition[Position]:
    """A decision or terminal node, and the rewards since the decision before it.

    At a chance node OpenSpiel's rewards are not defined: some games repeat there what was paid before.
    """
    return Transition(Position(tuple(node.history()), node), tuple(map(float, node.rewards())))


# ---- the game -----------------------------------------------------------------------------------


@final
@attrs.frozen(kw_only=True, eq=False)
class OpenSpielGame(AbstractExplicitGame[Position, int]):
    """An OpenSpiel game.

    Attributes:
      spiel: the ``pyspiel.Game``.
      source: which of OpenSpiel's strings an agent reads.
      own_text: what an agent reads instead.
      rules: what a newcomer must be told.
      horizon: time limit H, in steps.
      invalid_rule: iota, what an invalid text does.
      facts: what OpenSpiel declares.
    """

    spiel: Any
    source: Source = "observation"
    own_text: TextOf | None = None
    rules: str = ""
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    facts: Facts = Facts()
    agents: tuple[str, ...] = attrs.field(init=False)

    @agents.default
    def _number(self) -> tuple[str, ...]:
        return tuple(f"player_{player}" for player in range(self.spiel.num_players()))

    @property
    def name(self) -> str:
        return str(self.spiel).removesuffix("()")

    def initial_state_dist(self) -> Distribution[Position]:
        return Chance(self.spiel.new_initial_state()).map(lambda arrival: arrival.state)

    def transition_dist(
        self, state: Position, joint_action: Mapping[str, int]
    ) -> Distribution[Transition[Position]]:
        actions = {self.agents.index(agent): action for agent, action in joint_action.items()}
        for player, action in actions.items():
            if action not in state.choices.get(player, ()):
                raise InvalidArgumentError(
                    f"'joint_action' must be legal (got {action!r} of player_{player} in {self.name} "
                    f"after {state.history})"
                )
        node = state.node.clone()
        if node.is_simultaneous_node():
            node.apply_actions([actions.get(p, 0) for p in range(len(self.agents))])
        else:
            node.apply_action(actions[node.current_player()])
        return Chance(node)

    def is_terminal(self, state: Position) -> bool:
        return bool(state.node.is_terminal())

    def acting_agents(self, state: Position) -> tuple[str, ...]:
        return tuple(self.agents[player] for player in state.choices)

    def legal_actions(self, state: Position, agent: str) -> tuple[int, ...]:
        return tuple(state.choices.get(self.agents.index(agent), ()))

    def observation_text(self, state: Position, agent: str) -> str:
        player = self.agents.index(agent)
        if self.own_text is not None:
            return self.own_text(state.node, player)
        lines = [f"You are {agent}."] if len(self.agents) > 1 else []
        lines.append(_COLOURS.sub("", self._string(state, player, self.source)).strip("\n"))
        lines += _told(tuple(state.choices.get(player, {}).values()))
        return "\n".join(lines)

    def _string(self, state: Position, player: int, source: Source) -> str:
        if source == "information":
            return str(state.node.information_state_string(player))
        return str(state.node.observation_string(player))

    def action_text(self, state: Position, agent: str, action: int) -> str:
        return state.choices[self.agents.index(agent)][action]

    def rules_text(self, agent: str) -> str:
        return f"You play {self.spiel.get_type().long_name}. {self.rules}".strip()

    def information_key(self, state: Position, agent: str) -> Hashable:
        """OpenSpiel's word on what the player knows, and what it may do: not every string tells whose turn it is."""
        kind, player = self.spiel.get_type(), self.agents.index(agent)
        if kind.provides_information_state_string:
            known = self._string(state, player, "information")
        elif kind.provides_observation_string:
            known = self._string(state, player, "observation")
        else:
            known = self.observation_text(state, agent)
        return known, self.legal_actions(state, agent)


def _told(texts: tuple[str, ...]) -> list[str]:
    """The legal actions, one a line; if that is too long, how many there are, the first and the last."""
    if not texts:
        return []
    if sum(map(len, texts)) <= _LISTED:
        return ["Legal actions:", *texts]
    return [f"Legal actions: {len(texts)}, such as", texts[0], texts[-1]]

"""The game of an OpenSpiel game, and its states and chance; OpenSpiel itself is not imported."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, final

import attrs

from games.adapters.live import Success
from games.adapters.open_spiel_wording import Wording
from games.arguments import to_horizon
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Episode,
    Facts,
    Finite,
    GameLawError,
    InvalidArgumentError,
    NotEnumerableError,
    Stream,
    Transition,
    fold,
    uniform,
)
from tsmg.distribution import ENUMERATION_LIMIT, Probability
from tsmg.invalid import AbstractInvalidRule, Forfeit

SpielGame: TypeAlias = Any
"""A ``pyspiel.Game``; OpenSpiel is optional and ships no types."""
SpielState: TypeAlias = Any
"""A ``pyspiel.State``."""

Source = Literal["observation", "information"]
TextOf = Callable[[SpielState, int], str]

_LISTED = 2000
_LONGEST_CHANCE = 500
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@final
@attrs.frozen(cache_hash=True)
class Position:
    """A decision or terminal node of the game's tree; positions with equal histories are equal.

    Attributes:
      history: the actions so far, including those of chance; joint actions player by player.
      node: OpenSpiel's state, which is never changed.
      wording: how the game's actions are worded, if not as in OpenSpiel.
    """

    history: tuple[int, ...]
    node: SpielState = attrs.field(eq=False, repr=False)
    wording: Wording | None = attrs.field(default=None, eq=False, repr=False)

    @functools.cached_property
    def choices(self) -> Mapping[int, Mapping[int, str]]:
        """Each acting player's legal actions, and the canonical text of each."""
        node = self.node
        if node.is_terminal():
            return {}
        if not node.is_simultaneous_node():
            player = node.current_player()
            return {player: _named(node, player, self.wording)}
        players = [p for p in range(node.num_players()) if node.legal_actions(p)]
        return {player: _named(node, player, self.wording) for player in players}


def _named(node: SpielState, player: int, wording: Wording | None = None) -> dict[int, str]:
    """Legal actions and their texts, which differ also after folding; a number distinguishes equal texts."""
    actions = node.legal_actions(player)
    plain = {a: " ".join(node.action_to_string(player, a).split()) for a in actions}
    if wording is not None:
        plain = {action: wording.reworded_action(text) for action, text in plain.items()}
    count = Counter(map(fold, plain.values()))
    texts = {a: t if t and count[fold(t)] == 1 else f"{t} [{a}]" for a, t in plain.items()}
    if len(set(map(fold, texts.values()))) < len(texts):
        return {action: str(action) for action in actions}
    return {action: text.strip() for action, text in texts.items()}


@final
class Chance(Distribution[Transition[Position]]):
    """The distribution of the next position from a node: the node itself, or what follows while chance moves.

    It is drawn lazily, as ``Distribution.bind`` is, but counts as finite without a walk over all deals. (An endless
    walk, such as that of Crazy Eights, which deals a card again and again until it is not an eight, is detected during
    the enumeration.)

    Args:
      node: OpenSpiel's state, which is not changed.
      wording: of the positions.
    """

    def __init__(self, node: SpielState, wording: Wording | None = None) -> None:
        self._node, self._wording = node, wording

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
        return _arrived(node, self._wording)

    def enumerate(
        self, limit: int = ENUMERATION_LIMIT
    ) -> Iterator[tuple[Transition[Position], Probability]]:
        waiting: list[Iterator[tuple[SpielState, Probability]]] = [iter(((self._node, 1),))]
        while waiting:
            node, probability = next(waiting[-1], (None, 0))
            if node is None:
                waiting.pop()
            elif not node.is_chance_node():
                yield _arrived(node, self._wording), probability
            elif len(waiting) <= _LONGEST_CHANCE:
                waiting.append(_followers(node, probability))
            else:
                raise NotEnumerableError(
                    f"{self!r} cannot be enumerated: chance may move more than {_LONGEST_CHANCE} times in a row"
                )


def _followers(
    node: SpielState, probability: Probability
) -> Iterator[tuple[SpielState, Probability]]:
    """The nodes after a chance node, each with the probability of its whole path."""
    for action, conditional in _outcomes(node).enumerate():
        if conditional:
            yield node.child(action), probability * conditional


def _outcomes(node: SpielState) -> Finite[int]:
    """The distribution at a chance node, in fractions where all outcomes are equally likely.

    Raises:
      GameLawError: there is no outcome, because of a fault in OpenSpiel's game.
    """
    outcomes = node.chance_outcomes()
    if not outcomes:
        raise GameLawError(
            f"OpenSpiel gives chance no outcome after {node.history()} of {node.get_game()}"
        )
    if len({probability for _, probability in outcomes}) == 1:
        return uniform(action for action, _ in outcomes)
    return Finite(outcomes)


def _arrived(node: SpielState, wording: Wording | None) -> Transition[Position]:
    """A decision or terminal node, and the rewards since the decision before it.

    At a chance node OpenSpiel's rewards are not defined: some games repeat there what was paid before.
    """
    position = Position(tuple(node.history()), node, wording)
    return Transition(position, tuple(map(float, node.rewards())))


@final
@attrs.frozen(kw_only=True, eq=False)
class OpenSpielGame(AbstractExplicitGame[Position, int]):
    """An OpenSpiel game.

    Attributes:
      spiel: the ``pyspiel.Game``.
      source: which of OpenSpiel's strings an agent reads.
      own_text: function that writes the text that an agent reads instead.
      rules: the rules that an agent reads.
      wording: replacements in OpenSpiel's texts.
      horizon: time limit H, in steps.
      invalid_rule: iota, which determines what follows an invalid text.
      facts: what OpenSpiel declares.
      is_success: what a success is, if that is defined.
    """

    spiel: SpielGame
    source: Source = "observation"
    own_text: TextOf | None = None
    rules: str = ""
    wording: Wording | None = attrs.field(default=None, repr=False)
    horizon: int = attrs.field(converter=to_horizon)
    invalid_rule: AbstractInvalidRule = Forfeit(penalty=1.0)
    facts: Facts = Facts()
    is_success: Success | None = None
    agents: tuple[str, ...] = attrs.field(init=False)

    @agents.default
    def _number(self) -> tuple[str, ...]:
        return tuple(f"player_{player}" for player in range(self.spiel.num_players()))

    @property
    def name(self) -> str:
        return str(self.spiel).removesuffix("()")

    def initial_state_dist(self) -> Distribution[Position]:
        return Chance(self.spiel.new_initial_state(), self.wording).map(
            lambda arrival: arrival.state
        )

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
        return Chance(node, self.wording)

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
        shown = _COLOURS.sub("", self._string(state, player, self.source)).strip("\n")
        lines.append(shown if self.wording is None else self.wording.reworded_text(shown))
        legal = tuple(state.choices.get(player, {}).values())
        if sum(map(len, legal)) > _LISTED:
            lines += [f"Legal actions: {len(legal)}, such as", legal[0], legal[-1]]
        elif legal:
            lines += ["Legal actions:", *legal]
        return "\n".join(lines)

    def _string(self, state: Position, player: int, source: Source) -> str:
        if source == "information":
            return str(state.node.information_state_string(player))
        return str(state.node.observation_string(player))

    def action_text(self, state: Position, agent: str, action: int) -> str:
        return state.choices[self.agents.index(agent)][action]

    def rules_text(self, agent: str) -> str:
        return f"You play {self.spiel.get_type().long_name}. {self.rules}".strip()

    def success(self, episode: Episode[Position], agent: str) -> bool | None:
        return None if self.is_success is None else self.is_success(episode, agent)

    def information_key(self, state: Position, agent: str) -> Hashable:
        """OpenSpiel's string of the player's knowledge, and its legal actions, which not every string includes."""
        kind, player = self.spiel.get_type(), self.agents.index(agent)
        if kind.provides_information_state_string:
            known = self._string(state, player, "information")
        elif kind.provides_observation_string:
            known = self._string(state, player, "observation")
        else:
            known = self.observation_text(state, agent)
        return known, self.legal_actions(state, agent)

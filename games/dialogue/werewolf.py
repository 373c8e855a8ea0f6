"""A small Werewolf: hidden wolves kill by night, and by day all speak in turn and then vote somebody out.

Source: D. Davidoff, "Mafia", 1986.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import attrs

from games.arguments import integer_field, probability_field
from games.attention import attentive
from games.dialogue.base import AbstractDialogue
from games.dialogue.moves import Form, Move, Slot, Speech, grammar_text
from games.dialogue.transcript import Entry, Notice, Talk
from games.dialogue.village import Phase, Role, Village, Winner, casts
from tsmg import (
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    InvalidArgumentError,
    deterministic,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, PlayDefault

PASS = Move("pass")
"""The move that says, does or votes for nothing."""
_SAY = (Form("say", speech=Speech.REQUIRED), Form("pass"))
_ACCUSED = re.compile(r"(player_\d) is a wolf\.?")


Square = Talk[Village]


@final
@attrs.frozen(kw_only=True)
class Werewolf(AbstractDialogue[Village]):
    """Find the wolves among you by talking, before they have killed too many.

    Agents: ``player_1``, ``player_2``, ...; by day they speak in turn, and at night and at the vote they act at once.
    States: the roles, who lives, what is to be done, and what was said and told so far.
    Actions: to kill or inspect a player by night, to say something by day, to vote, or to pass.
    Observation text: the player's own role, who lives, what it heard (messages in quotation marks), what is to be done.
    Action text: ``say: MESSAGE``, ``kill NAME``, ``inspect NAME``, ``vote NAME``, ``pass``.
    Rewards: 1 at the end to each player of the side that won, including those who are out.
    Invalid rule: the offender passes, at a penalty of 0.1.
    Exact values: if all vote and kill at random, the village wins with
    ``games.dialogue.village.village_chance(wolves, others, days)``: 7/15 with five players and one wolf.
    There it is 7/32 if all play as ``games.dialogue.werewolf.Accuser`` with full attention, and 0.3039 with its usual
    one: the wolf's lies are believed as often as the seer's words.

    Attributes:
      players: the number of players, from 5 to 7; one of them is the seer.
      wolves: the number of wolves, 1 or 2.
      message_limit: the greatest number of characters of a message.

    Source: D. Davidoff, 1986.
    """

    players: int = integer_field("players", default=5, least=5)
    wolves: int = integer_field("wolves", default=1, least=1)
    message_limit: int = integer_field("message_limit", default=120, least=1)
    invalid_rule: AbstractInvalidRule = PlayDefault(action=PASS, penalty=0.1, with_feedback=True)
    agents: tuple[str, ...] = attrs.field(init=False)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)

    @agents.default
    def _names(self) -> tuple[str, ...]:
        return tuple(f"player_{n + 1}" for n in range(self.players))

    @horizon.default
    def _all_days(self) -> int:
        return self.days * (self.players + 2)

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=False,
            perfect_information=False,
            text_separates_states=False,
            stochastic_start=True,
            stochastic_transitions=True,
            return_bounds=(0.0, 1.0),
            longest_game=self.days * (self.players + 2),
        )

    def __attrs_post_init__(self) -> None:
        if self.players > 7 or self.wolves > 2:
            raise InvalidArgumentError(
                f"'players' must be from 5 to 7, and 'wolves' 1 or 2 (got {self.players} and {self.wolves})"
            )

    @property
    def days(self) -> int:
        """The number of days, after which the wolves have won if one of them lives."""
        return (self.players - 1) // 2

    def world_dist(self) -> Distribution[Village]:
        return _cast_dist(self.agents, self.wolves)

    def role(self, village: Village, agent: str) -> Role:
        """The role of the agent."""
        return village.roles[self.agents.index(agent)]

    def pack(self, village: Village) -> tuple[str, ...]:
        """The wolves, dead or alive."""
        return _pack(village.roles, self.agents)

    def _living_pack(self, village: Village) -> tuple[str, ...]:
        return tuple(agent for agent in self.pack(village) if agent in village.living)

    def is_terminal(self, state: Square) -> bool:
        return bool(state.world.winner)

    def acting_agents(self, state: Square) -> tuple[str, ...]:
        village = state.world
        if village.winner:
            return ()
        if village.phase == "vote":
            return village.living
        if village.phase == "day":
            return (village.living[village.speaker],)
        able = ("seer",) if village.day == 1 else ("wolf", "seer")
        return tuple(agent for agent in village.living if self.role(village, agent) in able)

    def forms(self, state: Square, agent: str) -> tuple[Form, ...]:
        village = state.world
        if village.phase == "day":
            return _SAY
        others = tuple(name for name in village.living if name != agent)
        if village.phase == "vote":
            return _choice("vote", others)
        if self.role(village, agent) == "seer":
            return _choice("inspect", others)
        pack = self._living_pack(village)
        prey = tuple(name for name in others if name not in pack)
        return _choice("kill", prey, self._wolves_speech)

    @property
    def _wolves_speech(self) -> Speech:
        return Speech.ALLOWED if self.wolves > 1 else Speech.NONE

    def hearers(self, state: Square, agent: str, move: Move) -> tuple[str, ...] | None:
        village = state.world
        if village.phase != "night":
            return None
        is_wolf = self.role(village, agent) == "wolf"
        return tuple(name for name in self._living_pack(village) if is_wolf and name != agent)

    def follow(self, said: Square) -> Distribution[Square]:
        village = said.world
        if village.phase == "day":
            spoken = village.speaker + 1
            is_last = spoken == len(village.living)
            phase: Phase = "vote" if is_last else "day"
            speaker = 0 if is_last else spoken
            after = Village(village.roles, village.living, village.day, phase, speaker)
            return deterministic(Talk(after, said.log))
        number = len(self.acting_agents(said))
        moves = {done.speaker: done.move for done in said.utterances[-number:]}
        if village.phase == "night":
            told = tuple(self._seen(village, moves))
            prey = [move.chosen[0] for move in moves.values() if move.verb == "kill"]
            return uniform(prey or ("",)).map(lambda name: self._dawn(said, told, name))
        votes = Counter(move.chosen[0] for move in moves.values() if move.verb == "vote")
        most = max(votes.values(), default=0)
        out = [name for name, count in votes.items() if count == most]
        return uniform(out or ("",)).map(lambda name: self._dusk(said, name))

    def _seen(self, village: Village, moves: dict[str, Move]) -> Iterator[Notice]:
        """What the seer finds."""
        for seer, move in moves.items():
            if move.verb == "inspect":
                (name,) = move.chosen
                is_wolf = self.role(village, name) == "wolf"
                yield Notice(f"{name} is {'a' if is_wolf else 'no'} wolf.", hearers=(seer,))

    def _dawn(self, said: Square, told: Sequence[Entry], name: str) -> Square:
        night = said.world
        village = Village(night.roles, night.living, night.day, "day")
        fate = f"{name} was killed, and was {self._named(village, name)}" if name else "nobody died"
        notice = Notice(f"Day {village.day}: {fate}.")
        return self._without(Talk(village, (*said.log, *told, notice)), name)

    def _dusk(self, said: Square, name: str) -> Square:
        fate = (
            f"{name} is out, and was {self._named(said.world, name)}" if name else "nobody is out"
        )
        notice = Notice(f"The vote: {fate}.")
        voted = self._without(Talk(said.world, (*said.log, notice)), name)
        village = voted.world
        if village.winner:
            return voted
        is_last = village.day == self.days
        winner: Winner = "wolves" if is_last else ""
        after = Village(village.roles, village.living, village.day + 1, "night", 0, winner)
        return Talk(after, voted.log)

    def _named(self, village: Village, agent: str) -> str:
        role = self.role(village, agent)
        return "the seer" if role == "seer" else f"a {role}"

    def _without(self, talk: Square, name: str) -> Square:
        """What follows the death of a player, or of nobody where the name is empty."""
        before = talk.world
        living = tuple([other for other in before.living if other != name])
        pack = sum(self.role(before, other) == "wolf" for other in living)
        winner: Winner = "wolves" if 2 * pack >= len(living) else ""
        winner = winner if pack else "village"
        village = Village(before.roles, living, before.day, before.phase, before.speaker, winner)
        return Talk(village, talk.log)

    def rewards(self, after: Square) -> tuple[float, ...]:
        if not after.world.winner:
            return (0.0,) * self.players
        return tuple(float(self._has_won(after.world, agent)) for agent in self.agents)

    def _has_won(self, village: Village, agent: str) -> bool:
        side = "wolves" if self.role(village, agent) == "wolf" else "village"
        return village.winner == side

    def head_text(self, state: Square, agent: str) -> str:
        village = state.world
        out = "" if agent in village.living else " You are out."
        lines = [f"You are {agent}, {self._named(village, agent)}.{out}"]
        if self.wolves > 1 and self.role(village, agent) == "wolf":
            lines.append(f"The wolves: {', '.join(self.pack(village))}.")
        lines.append(f"Living: {', '.join(village.living)}.")
        return "\n".join(lines)

    def foot_text(self, state: Square, agent: str) -> str:
        village = state.world
        if village.winner:
            won = "The wolves have won" if village.winner == "wolves" else "The village has won"
            return f"{won}. The wolves: {', '.join(self.pack(village))}."
        due = {"night": "night", "day": "time to speak", "vote": "time to vote"}
        return f"Now: {due[village.phase]}, day {village.day} of {self.days}."

    def rules_text(self, agent: str) -> str:
        name = Slot("NAME", self.agents)
        forms = [
            Form("kill", (name,), self._wolves_speech),
            Form("inspect", (name,)),
            Form("vote", (name,)),
        ]
        wolves = "1 is a wolf" if self.wolves == 1 else f"{self.wolves} are wolves"
        return (
            f"Of {self.players} players {wolves}, 1 is the seer, and the others are villagers. Nobody knows the role "
            "of another, but wolves know each other. By night the seer inspects a player and reads whether it is a "
            "wolf; from the second night on, wolves kill a player (a random one of those that they name). By day all "
            "who live speak in turn, and then vote at once: whoever has most votes is out (random if tied), and "
            "its role is told. The village wins when no wolf lives; the wolves win when they are as many as the "
            f"others, or after {self.days} days. All winners get 1, even if out. By night one kills or inspects, by "
            f"day one says something, and then one votes. {grammar_text((*forms, *_SAY), self.message_limit)}"
        )

    def noop_action(self, state: Square, agent: str) -> Move | None:
        return PASS if agent in self.acting_agents(state) else None

    def success(self, episode: Episode[Square], agent: str) -> bool:
        """The agent's side won."""
        return self._has_won(episode.final_state.state.world, agent)

    def metrics(self, episode: Episode[Square], agent: str) -> Mapping[str, float]:
        """Whether the village won, and the number of the last day; the same for all agents."""
        village = episode.final_state.state.world
        return {
            "village_won": float(village.winner == "village"),
            "days": float(min(village.day, self.days)),
        }

    def scripted_player(self) -> "Accuser":
        return Accuser(game=self)


@functools.lru_cache(maxsize=1024)
def _pack(roles: tuple[Role, ...], agents: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(agent for agent, role in zip(agents, roles, strict=True) if role == "wolf")


@functools.lru_cache(maxsize=64)
def _cast_dist(agents: tuple[str, ...], wolves: int) -> Distribution[Village]:
    return uniform(Village(roles, agents) for roles in casts(len(agents), wolves))


@functools.lru_cache(maxsize=1024)
def _choice(verb: str, names: tuple[str, ...], speech: Speech = Speech.NONE) -> tuple[Form, Form]:
    return Form(verb, (Slot("NAME", names),), speech), _SAY[1]


@final
@attrs.frozen(kw_only=True)
class RandomVoter(AbstractPlayer[Square, Move]):
    """Says nothing; kills, inspects and votes for anybody of those that it may.

    Attributes:
      game: the game.
    """

    game: Werewolf

    def action_dist(self, state: Square, agent: str) -> Distribution[Move]:
        deed, _ = self.game.forms(state, agent)
        return deterministic(PASS) if state.world.phase == "day" else uniform(deed.moves())


@final
@attrs.frozen(kw_only=True)
class Accuser(AbstractPlayer[Square, Move]):
    """Accuses the wolves it has found if it is the seer, anybody else if a wolf; tends to vote for the accused.

    Attributes:
      game: the game.
      attention: probability that it votes for one who was accused on this day, in [0, 1].
    """

    game: Werewolf
    attention: float = probability_field("attention", default=0.7)

    def action_dist(self, state: Square, agent: str) -> Distribution[Move]:
        anybody = RandomVoter(game=self.game).action_dist(state, agent)
        village = state.world
        pack = self.game.pack(village) if agent in self.game.pack(village) else ()
        if village.phase == "day":
            known = self._found(state, agent) if not pack else self._others(village, pack)
            messages = [f"{name} is a wolf."[: self.game.message_limit].rstrip() for name in known]
            return uniform([Move("say", message=message) for message in messages] or [PASS])
        if village.phase == "night":
            return anybody
        accused = [name for name in self._accused(state) if name not in (agent, *pack)]
        votes = uniform(
            [Move("vote", (name,)) for name in accused or self._others(village, (agent, *pack))]
        )
        return attentive(self.attention, votes, anybody)

    def _others(self, village: Village, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in village.living if name not in names)

    def _found(self, state: Square, agent: str) -> tuple[str, ...]:
        """The living wolves that the seer has found."""
        village = state.world
        inspected = {
            said.move.chosen[0]
            for said in state.utterances
            if said.speaker == agent and said.move.verb == "inspect"
        }
        return tuple(
            name
            for name in village.living
            if name in inspected and self.game.role(village, name) == "wolf"
        )

    def _accused(self, state: Square) -> tuple[str, ...]:
        """The living players that somebody called a wolf on this day."""
        spoken = [said for said in state.utterances if said.move.verb in ("say", "pass")]
        said_today = spoken[-len(state.world.living) :]
        found = (_ACCUSED.fullmatch(said.move.message) for said in said_today)
        names = {match[1] for match in found if match}
        return tuple(name for name in state.world.living if name in names)

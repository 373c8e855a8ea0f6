"""Negotiation with hidden values: two agents talk about how to divide items, which each values in its own way.

Source: M. Lewis, D. Yarats, Y. N. Dauphin, D. Parikh, D. Batra, "Deal or no deal?", 2017, arXiv:1706.05125 (pool and
values); J. F. Nash, "The bargaining problem", 1950 (the bargaining solution).
"""

import functools
import itertools
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import final

import attrs

from games.arguments import integer, integer_field, probability_field
from games.attention import attentive
from games.dialogue.base import AbstractDialogue
from games.dialogue.moves import Form, Move, Slot, Speech, grammar_text
from games.dialogue.offers import ANSWERS, accepted_offer, answers, offer_form, standing_offer
from games.dialogue.transcript import Talk, Utterance
from games.social import equality_metric
from tsmg import (
    AbstractPlayer,
    Distribution,
    Episode,
    Facts,
    InvalidArgumentError,
    deterministic,
    product,
    uniform,
)
from tsmg.invalid import AbstractInvalidRule, StandStill

_AGENTS = ("player_1", "player_2")
_MOST = 10_000  # values and bundles, so that all can be listed
_DECLARED = re.compile(r"my values: (\d{1,6}(?: \d{1,6})*)")

Bundle = tuple[int, ...]
"""The number of items of each kind."""
Values = tuple[int, ...]
"""The value of one item of each kind."""
Table = Talk[tuple[Values, Values]]


def worth(bundle: Bundle, values: Values) -> int:
    """The value of a bundle."""
    return sum(map(operator.mul, bundle, values))


@functools.lru_cache(maxsize=64)
def bundles(counts: Bundle) -> tuple[Bundle, ...]:
    """Every part of a pool, from nothing to all of it."""
    return tuple(itertools.product(*(range(count + 1) for count in counts)))


def valuations(counts: Bundle, total: int) -> Iterator[Values]:
    """All whole-number values under which the pool is worth the total.

    Example:
      >>> list(valuations((1, 2), 4))
      [(0, 2), (2, 1), (4, 0)]
    """
    if not counts:
        if total == 0:
            yield ()
        return
    for value in range(total // counts[0] + 1):
        rest = valuations(counts[1:], total - value * counts[0])
        yield from ((value, *others) for others in rest)


def efficient_worth(counts: Bundle, values: tuple[Values, Values]) -> int:
    """The greatest joint value of a division: each item goes to the agent that values it more.

    Example:
      >>> efficient_worth((1, 2), ((4, 0), (0, 2)))
      8
    """
    return worth(counts, tuple(map(max, *values)))


@functools.lru_cache(maxsize=4096)
def bargaining_solution(counts: Bundle, values: tuple[Values, Values]) -> Bundle:
    """What the second one gets by the division that has the greatest product of the two worths.

    Among equal products the greatest joint worth decides, then the greatest worth of the poorer one, then the order.

    Source: J. F. Nash, 1950, where nobody gets anything without a deal; over whole things, without lotteries.

    Example:
      >>> bargaining_solution((1, 2), ((4, 0), (0, 2)))
      (0, 2)
    """

    def merit(second: Bundle) -> tuple[int, int, int]:
        first = tuple(map(operator.sub, counts, second))
        a, b = worth(first, values[0]), worth(second, values[1])
        return a * b, a + b, min(a, b)

    return max(bundles(counts), key=merit)


def _pair(both: tuple[Values, ...]) -> tuple[Values, Values]:
    return both[0], both[1]


def _to_items(items: Iterable[Iterable[object]]) -> tuple[tuple[str, int], ...]:
    try:
        pairs = [(name, count) for name, count in items]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"'items' must be pairs of name and number (got {items!r})"
        ) from error
    return tuple((str(name), integer("items", count, least=1)) for name, count in pairs)


@functools.lru_cache(maxsize=4096)
def _head_text(agent: str, items: tuple[tuple[str, int], ...], own: Values) -> str:
    named = zip(items, own, strict=True)
    pool = ", ".join(f"{name} {count} x {value}" for (name, count), value in named)
    return f"You are {agent}. The pool, as number x worth of each to you: {pool}."


@final
@attrs.frozen(kw_only=True)
class Negotiation(AbstractDialogue[tuple[Values, Values]]):
    """Divide books, hats and balls by talking; their value to the other agent is hidden.

    Agents: ``player_1`` and ``player_2``, in turn.
    States: the values of both, and what was said.
    Actions: to say something, to offer a part of the pool with or without words, to accept or reject an offer.
    Observation text: the agent's own values, every move so far with messages in quotation marks, the standing offer.
    Action text: ``say: MESSAGE``, ``offer BOOKS HATS BALLS`` (what the other gets), ``accept``, ``reject``.
    Rewards: the value of the agent's own part under an accepted offer, otherwise 0.
    Invalid rule: the offender stands still (a step passes), at a penalty of 0.1.
    Exact values: for each start the efficient joint worth (``games.dialogue.negotiation.efficient_worth``), 731/49 =
    14.92 on average, and the bargaining solution (``games.dialogue.negotiation.bargaining_solution``), which two candid
    players reach (``games.dialogue.negotiation.CandidPlayer``), with a joint worth of 104/7 = 14.86 on average.

    Attributes:
      items: the name and number of each kind of thing.
      total: what the whole pool is worth to each; values are uniform on the whole numbers that add up to it.
      turns: the number of moves.
      message_limit: the greatest number of characters of a message.

    Source: M. Lewis et al., 2017.
    """

    items: tuple[tuple[str, int], ...] = attrs.field(
        default=(("books", 1), ("hats", 2), ("balls", 3)), converter=_to_items
    )
    total: int = integer_field("total", default=10, least=1)
    turns: int = integer_field("turns", default=8, least=2)
    message_limit: int = integer_field("message_limit", default=120, least=1)
    invalid_rule: AbstractInvalidRule = StandStill(penalty=0.1, with_feedback=True)
    counts: Bundle = attrs.field(init=False, repr=False)
    valuations: tuple[Values, ...] = attrs.field(init=False, repr=False)
    horizon: int = attrs.field(init=False)
    facts: Facts = attrs.field(init=False)
    every_form: tuple[Form, ...] = attrs.field(init=False, repr=False)
    both_dist: Distribution[tuple[Values, Values]] = attrs.field(init=False, eq=False, repr=False)

    agents = _AGENTS

    @counts.default
    def _counted(self) -> Bundle:
        counts = tuple(count for _, count in self.items)
        if not counts or math.prod(count + 1 for count in counts) > _MOST:
            raise InvalidArgumentError(
                f"'items' must be at least one kind, with at most {_MOST:,} ways to divide them (got {self.items!r})"
            )
        return counts

    @valuations.default
    def _valued(self) -> tuple[Values, ...]:
        found = tuple(itertools.islice(valuations(self.counts, self.total), _MOST + 1))
        if not 0 < len(found) <= _MOST:
            raise InvalidArgumentError(
                f"'total' must be a value that the items {self.items!r} have by 1 to {_MOST:,} values in whole numbers "
                f"(got {self.total})"
            )
        return found

    @both_dist.default
    def _both_valued(self) -> Distribution[tuple[Values, Values]]:
        return product([uniform(self.valuations)] * 2).map(_pair)

    @horizon.default
    def _all_turns(self) -> int:
        return self.turns

    @facts.default
    def _declare(self) -> Facts:
        return Facts(
            zero_sum=False,
            perfect_information=len(self.valuations) == 1,
            text_separates_states=len(self.valuations) == 1,
            stochastic_start=len(self.valuations) > 1,
            stochastic_transitions=False,
            return_bounds=(0.0, float(self.total)),
            longest_game=self.turns,
        )

    @every_form.default
    def _all_forms(self) -> tuple[Form, ...]:
        slots = (
            Slot(name.upper(), [str(n) for n in range(count + 1)]) for name, count in self.items
        )
        return Form("say", speech=Speech.REQUIRED), offer_form(slots), *ANSWERS

    def world_dist(self) -> Distribution[tuple[Values, Values]]:
        return self.both_dist

    def deal(self, state: Table) -> tuple[Bundle, Bundle] | None:
        """What each agent gets; ``None`` if nothing was accepted."""
        offer = accepted_offer(state.utterances)
        return None if offer is None else self.parts_of(offer)

    def parts_of(self, offer: Utterance) -> tuple[Bundle, Bundle]:
        """What each agent would get by an offer, in the order of ``agents``."""
        given = tuple(map(int, offer.move.chosen))
        kept = tuple(map(operator.sub, self.counts, given))
        return (kept, given) if offer.speaker == _AGENTS[0] else (given, kept)

    def is_terminal(self, state: Table) -> bool:
        return len(state.utterances) >= self.turns or self.deal(state) is not None

    def forms(self, state: Table, agent: str) -> tuple[Form, ...]:
        return *self.every_form[:2], *answers(state.utterances, agent)

    def rewards(self, after: Table) -> tuple[float, ...]:
        parts = self.deal(after)
        if parts is None:
            return (0.0, 0.0)
        return tuple(float(worth(part, own)) for part, own in zip(parts, after.world, strict=True))

    def head_text(self, state: Table, agent: str) -> str:
        return _head_text(agent, self.items, state.world[_AGENTS.index(agent)])

    def foot_text(self, state: Table, agent: str) -> str:
        own = _AGENTS.index(agent)
        parts = self.deal(state)
        if parts is not None:
            return f"Deal. Your part is worth {worth(parts[own], state.world[own])} to you."
        if len(state.utterances) >= self.turns:
            return "There is no deal."
        lines = []
        offer = standing_offer(state.utterances)
        if offer is not None:
            part = self.parts_of(offer)[own]
            told = ", ".join(f"{name} {n}" for n, (name, _) in zip(part, self.items, strict=True))
            worthy = worth(part, state.world[own])
            lines.append(
                f"The offer of {offer.speaker} stands: you get {told}, worth {worthy} to you."
            )
        lines.append(f"Now: move {len(state.utterances) + 1} of {self.turns}.")
        return "\n".join(lines)

    def rules_text(self, agent: str) -> str:
        pool = ", ".join(f"{name} ({count})" for name, count in self.items)
        return (
            f"Two players divide {pool} by talking in turn. The pool is worth {self.total} to each, but each values "
            "the things in its own way, and does not know the other's values. An offer says how many of each the "
            "other one gets; the proposer keeps the rest. An accepted offer ends the game, and each gets the worth of "
            f"its part; a new offer replaces the one before. Without a deal after {self.turns} moves both get nothing. "
            "Only an offer of the other that stands can be accepted or rejected. "
            f"{grammar_text(self.every_form, self.message_limit)}"
        )

    def metrics(self, episode: Episode[Table], agent: str) -> Mapping[str, float]:
        """The efficiency and equality of the deal, and the agent's share.

        ``efficiency`` is the joint worth of the deal as a share of the greatest possible one, 0 without a deal;
        ``share`` is the agent's part of the joint worth, and ``equality`` (``games.social``) compares both parts; they
        are left out if the joint worth is 0.
        """
        final = episode.final_state.state
        gains = self.rewards(final)
        efficiency = sum(gains) / efficient_worth(self.counts, final.world)
        share = {"share": gains[_AGENTS.index(agent)] / sum(gains)} if any(gains) else {}
        return {"efficiency": efficiency, **equality_metric(gains), **share}

    def success(self, episode: Episode[Table], agent: str) -> bool:
        """There was a deal."""
        return self.deal(episode.final_state.state) is not None

    def scripted_player(self) -> "Haggler":
        return Haggler(game=self)


@final
@attrs.frozen(kw_only=True)
class Haggler(AbstractPlayer[Table, Move]):
    """Wants almost everything at first and ever less later; it offers and accepts any part that leaves it enough.

    Attributes:
      game: the game.
      attention: probability that it offers what leaves the other most things, of all that leaves it enough, in [0, 1].
      talk: probability that it says what it likes most instead of making its first offer, in [0, 1].
    """

    game: Negotiation
    attention: float = probability_field("attention", default=0.6)
    talk: float = probability_field("talk", default=0.3)

    def action_dist(self, state: Table, agent: str) -> Distribution[Move]:
        game, own = self.game, _AGENTS.index(agent)
        values, done = state.world[own], len(state.utterances)
        least = game.total - Fraction(game.total * done, 2 * (game.turns - 1))
        offer = standing_offer(state.utterances)
        if offer is not None and offer.speaker != agent:
            gain = worth(game.parts_of(offer)[own], values)
            if gain >= least or (gain and done == game.turns - 1):
                return deterministic(Move("accept"))
        every = bundles(game.counts)
        enough = [given for given in every if game.total - worth(given, values) >= least]
        most = max(map(sum, enough))
        generous = uniform(_offer(given) for given in enough if sum(given) == most)
        offers = attentive(self.attention, generous, uniform(map(_offer, enough)))
        if done >= len(_AGENTS):
            return offers
        dearest = game.items[values.index(max(values))][0]
        message = f"The {dearest} are worth most to me."[: game.message_limit].rstrip()
        return attentive(self.talk, deterministic(Move("say", message=message)), offers)


def _offer(given: Bundle) -> Move:
    return Move("offer", tuple(map(str, given)))


def _told(values: Values) -> str:
    return f"my values: {' '.join(map(str, values))}"


@final
@attrs.frozen(kw_only=True)
class CandidPlayer(AbstractPlayer[Table, Move]):
    """Tells its values, believes what it is told, and offers and accepts the bargaining solution of both.

    Until the other has told values that add up, it takes the other to value things as it does itself.

    Attributes:
      game: the game; its messages must be long enough to tell values.

    Raises:
      InvalidArgumentError: they are not.
    """

    game: Negotiation

    def __attrs_post_init__(self) -> None:
        longest = max(len(_told(values)) for values in self.game.valuations)
        if self.game.message_limit < longest:
            raise InvalidArgumentError(
                f"'message_limit' must be at least {longest} where values are told (got {self.game.message_limit})"
            )

    def action_dist(self, state: Table, agent: str) -> Distribution[Move]:
        game, own = self.game, _AGENTS.index(agent)
        mine = state.world[own]
        if self._declared(state, agent) is None:
            return deterministic(Move("say", message=_told(mine)))
        theirs = self._declared(state, _AGENTS[1 - own]) or mine
        second = bargaining_solution(game.counts, (mine, theirs) if own == 0 else (theirs, mine))
        first = tuple(map(operator.sub, game.counts, second))
        offer = standing_offer(state.utterances)
        if offer is not None and offer.speaker != agent and game.parts_of(offer) == (first, second):
            return deterministic(Move("accept"))
        return deterministic(_offer((first, second)[1 - own]))

    def _declared(self, state: Table, agent: str) -> Values | None:
        """The values that an agent told last, where they add up."""
        for said in reversed(state.utterances):
            told = _DECLARED.fullmatch(said.move.message) if said.speaker == agent else None
            if told is not None:
                values = tuple(map(int, told[1].split()))
                counts = self.game.counts
                is_right = len(values) == len(counts) and worth(counts, values) == self.game.total
                return values if is_right else None
        return None

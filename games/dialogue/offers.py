"""Offers within a dialogue: the moves to make, accept and reject one, and which offer stands.

An offer stands until it is rejected or another one is made, whoever makes it and whatever is said in between.
"""

from collections.abc import Iterable, Sequence

from games.dialogue.moves import Form, Slot, Speech
from games.dialogue.transcript import Utterance

OFFER, ACCEPT, REJECT = "offer", "accept", "reject"


def offer_form(slots: Iterable[Slot]) -> Form:
    """The form of an offer, with or without words.

    Args:
      slots: what is offered.
    """
    return Form(OFFER, slots, Speech.ALLOWED)


ANSWERS = (Form(ACCEPT), Form(REJECT, speech=Speech.ALLOWED))
"""The forms of the answers to an offer; a rejection may have words."""


def standing_offer(said: Sequence[Utterance]) -> Utterance | None:
    """The last offer that was not rejected, accepted or not; ``None`` if there is none.

    Example:
      >>> from games.dialogue.moves import Move
      >>> said = (Utterance("ann", Move("offer", ("3",))), Utterance("ben", Move("say", message="hm")))
      >>> standing_offer(said).move
      Move(verb='offer', chosen=('3',), message='')
    """
    last = next((one for one in reversed(said) if one.move.verb in (OFFER, REJECT)), None)
    return last if last is not None and last.move.verb == OFFER else None


def accepted_offer(said: Sequence[Utterance]) -> Utterance | None:
    """The offer that the last move accepted; ``None`` if it was another move."""
    return standing_offer(said) if said and said[-1].move.verb == ACCEPT else None


def answers(said: Sequence[Utterance], agent: str) -> tuple[Form, ...]:
    """The forms of the answers that an agent may give: none to its own offer, nor where no offer stands."""
    offer = standing_offer(said)
    return ANSWERS if offer is not None and offer.speaker != agent else ()

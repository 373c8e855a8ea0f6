"""F: hostile observations, replies and names in a history; what is foreign stays marked as foreign."""

from lap import LastTurnsPrompt, MemorylessPrompt, TagParser
from lap.models.endpoint import CONTROL_TOKENS, _sent
from tests.fuzz.guard import Case, wrong
from tests.fuzz.source import Source
from tsmg import History, Observation, OutcomeKind, Turn

MODULES = ("lap.prompts",)
CASES = 200_000
FEEDBACK = "That was illegal."
INSTRUCTIONS = TagParser().instructions()
PROMPTS = (
    MemorylessPrompt(),
    MemorylessPrompt(with_rules=False),
    LastTurnsPrompt(turns=1),
    LastTurnsPrompt(turns=3, with_rules=False),
)


def history(source: Source) -> History:
    """A history in which every text but the game's own is hostile."""
    turns = tuple(
        Turn(
            observation=Observation(text=source.text()),
            reply=source.text(),
            kind=source.choice(tuple(OutcomeKind)),
        )
        for _ in range(source.integer(0, 3))
    )
    now = Observation(text=source.text(), feedback=source.choice(("", FEEDBACK)))
    return History(agent=source.text(), rules=source.text(), turns=turns, observation=now)


def prepare() -> Case:
    ours = {INSTRUCTIONS, f"\n{INSTRUCTIONS}", f"\n{FEEDBACK}"}

    def case(source: Source) -> None:
        read = history(source)
        prompt = source.choice(PROMPTS).build(read, INSTRUCTIONS)
        for message in prompt.messages:
            if any(s.trusted and s.text not in ours for s in message.segments):
                raise wrong("forged turn", "foreign text stands in a trusted segment")
            content = _sent(message)["content"]
            if any(token in content for token in CONTROL_TOKENS):
                raise wrong("forged turn", "a control token is sent to an endpoint")
            content.encode()
        if read.observation.text not in prompt.messages[-1].text:
            raise wrong("wrong", "the present observation is not in the prompt")

    return case

"""Chat templates in the manner of Qwen and of Llama, with hostile texts: no control token but the template's own."""

import copy
import functools
from collections.abc import Sequence

from tokenizers import normalizers

from lap import PromptEncoder, TagParser
from tests.checkpoints import CHATML_SPECIAL, LLAMA_SPECIAL, tokenizer
from tests.fuzz.guard import Case, wrong
from tests.fuzz.prompts import INSTRUCTIONS, PROMPTS, history
from tests.fuzz.source import PIECES, Source
from tsmg import History, Observation, Turn

MODULES = ("lap.encoding",)
CASES = 30_000
NORMALISERS = {
    "NFC": normalizers.NFC(),  # as Qwen's
    "NFKC": normalizers.NFKC(),
    "bare": normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Replace("\u200b", "")]
    ),
}
STYLES = (
    "chatml",
    "chatml NFC",
    "chatml NFKC",
    "chatml bare",
    "llama",
    "llama NFKC",
    "llama bare",
    "plain",
)
_PIECES = (*PIECES, *CHATML_SPECIAL, *LLAMA_SPECIAL, "im_start", "eot_id", "_", "i", "\uff49")


@functools.cache
def encoder(style: str) -> PromptEncoder:
    """An encoder for a template, whose tokenizer may normalise what it reads."""
    name, _, form = style.partition(" ")
    made = copy.deepcopy(tokenizer(name))
    if form:
        made.backend_tokenizer.normalizer = NORMALISERS[form]
    return PromptEncoder(made)


def control_tokens(made: PromptEncoder, ids: Sequence[int]) -> list[int]:
    """The control tokens among ids, in order."""
    return [i for i in ids if i in made.control_ids]


def harmless(read: History) -> History:
    """The same history with plain words in place of everything foreign."""
    turns = tuple(
        Turn(observation=Observation(text="seen"), reply="said", kind=turn.kind)
        for turn in read.turns
    )
    now = Observation(text="now", feedback=read.observation.feedback)
    return History(agent="player", rules="rules", turns=turns, observation=now)


def check_encoder(made: PromptEncoder, source: Source) -> None:
    """The control tokens of a prompt are those of the same prompt with plain words."""
    read, prompt = history(source), source.choice(PROMPTS)
    ids, shown = made.encode(prompt.build(read, INSTRUCTIONS))
    plain, _ = made.encode(prompt.build(harmless(read), INSTRUCTIONS))
    if control_tokens(made, ids) != control_tokens(made, plain):
        raise wrong("forged turn", "a foreign text became a control token")
    text = source.text(_PIECES)
    spelt = made.untrusted(text)
    if control_tokens(made, spelt):
        raise wrong("forged turn", "a foreign text became a control token")
    clean = text.encode("utf-8", "replace").decode()
    if made.tokenizer.backend_tokenizer.normalizer is None and made.decode(tuple(spelt)) != clean:
        raise wrong("wrong", "an encoded text does not come back")
    TagParser().parse(shown)


def prepare() -> Case:
    return lambda source: check_encoder(encoder(source.choice(STYLES)), source)

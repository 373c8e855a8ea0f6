"""W: every parser on any reply, with its inverse and its stop, and the trie of constrained decoding."""

from lap import (
    ConstrainedPolicy,
    LanguageAgentPolicy,
    MemorylessPrompt,
    SubgoalParser,
    TabularModel,
    TagParser,
    WholeReplyParser,
)
from lap.parsers import AbstractParser
from proofs.small_games import choice_game
from tests.fuzz.guard import Case, declared, wrong
from tests.fuzz.source import Source
from tsmg import (
    ActionText,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    ParseFailure,
    with_texts,
)

MODULES = ("lap.parsers", "lap.constrained", "lap.tries")
CASES = 400_000
PARSERS: tuple[AbstractParser, ...] = (
    TagParser(),
    TagParser(match="last"),
    TagParser(after="</think>"),
    TagParser("a-1", after="<"),
    WholeReplyParser(),
    SubgoalParser(),
)
_LETTERS = ("a", "b", "<", "action", ">", "</", "1", " ", "\ud800", "\n", "|im_end|")


def check_parser(parser: AbstractParser, reply: str, rest: str) -> None:
    """A reply is read or not, the same twice; what is wrapped comes back; what is decided stays."""
    read = parser.parse(reply)
    if not isinstance(read, ActionText | ParseFailure) or read != parser.parse(reply):
        raise wrong("wrong", f"the reading of a reply is {read!r}")
    if parser.is_complete(reply) and parser.parse(reply + rest) != read:
        raise wrong("wrong", "a decided reply reads otherwise when it goes on")
    try:
        wrapped = parser.wrap(reply)
    except InvalidArgumentError:
        return
    if parser.parse(wrapped) != ActionText(reply):
        raise wrong("wrong", "a wrapped text does not come back")


def check_trie(source: Source) -> None:
    """Actions of any texts, under constrained decoding: refused, or a distribution that sums to 1."""
    game = choice_game({"a": 1.0, "b": 0.0, "c": 0.5})
    texts = {action: source.text(_LETTERS)[:12] for action in "abc"}
    hostile = with_texts(game, action_text=lambda state, agent, action: texts[action])
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=source.one_in(2)),
        model=TabularModel(_LETTERS),
        parser=source.choice(PARSERS),
    )
    request = Match.begin(hostile, EpisodeSpec(key=EpisodeKey(seed=0))).requests[0]
    with declared():
        dist = ConstrainedPolicy(game=hostile, policy=policy).canonical(request)
        if abs(sum(one.probability for one in dist) - 1) > 1e-9:
            raise wrong("wrong", "the probabilities of canonical replies do not sum to 1")


def prepare() -> Case:
    def case(source: Source) -> None:
        check_parser(source.choice(PARSERS), source.text(), source.text())
        if source.rarely(200):
            check_trie(source)

    return case

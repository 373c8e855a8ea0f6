"""W: total, linear, the inverse of ``wrap``, and decided by a prefix only when every continuation agrees."""

import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typeguard import suppress_type_checks

from lap import TagParser, WholeReplyParser
from tsmg import ActionText, InvalidArgumentError, ParseFailure

FIRST, LAST = TagParser("action"), TagParser("action", match="last")
THOUGHTFUL = TagParser("action", after="</think>")
PIECES = st.lists(
    st.sampled_from(
        ["<action>", "</action>", "</think>", "left", "<", ">", "</", "action", "<|im_end|>", "\n"]
    )
).map("".join)


@pytest.mark.parametrize("parser", [FIRST, LAST, THOUGHTFUL, WholeReplyParser()])
@given(text=PIECES | st.text())
def test_a_wrapped_text_is_found_again(parser, text):
    try:
        reply = parser.wrap(text)
    except InvalidArgumentError:
        return
    assert parser.parse(reply) == ActionText(text)


def test_plain_words_can_always_be_wrapped():
    for parser in (FIRST, LAST, WholeReplyParser()):
        assert parser.parse(parser.wrap("left")) == ActionText("left")


@given(reply=PIECES | st.text(), rest=PIECES)
def test_a_decided_prefix_parses_like_every_continuation(reply, rest):
    for parser in (FIRST, THOUGHTFUL):
        if parser.is_complete(reply):
            assert parser.parse(reply) == parser.parse(reply + rest)


def test_what_is_thought_is_not_said():
    """Tags in the thoughts do not count, nor does a thought that never ends."""
    thought = "<think>Say <action>up</action>? No.</think>"
    assert THOUGHTFUL.parse(thought + "<action>left</action>") == ActionText("left")
    assert THOUGHTFUL.parse("Say <action>up</action>?") == ParseFailure("no </think> in the reply")
    assert THOUGHTFUL.parse(thought) == ParseFailure("no <action> in the reply")
    assert not THOUGHTFUL.is_complete("<action>up</action>")
    assert FIRST.parse(thought + "<action>left</action>") == ActionText(
        "up"
    )  # what would be read otherwise
    assert "</think>" not in THOUGHTFUL.instructions()


def test_the_last_match_is_never_decided_and_a_hasty_rule_is_rejected():
    reply, rest = "<action>left</action>", "<action>up</action>"
    assert not LAST.is_complete(reply)
    assert LAST.parse(reply) != LAST.parse(
        reply + rest
    )  # what a hasty ``stop_criterion`` would miss


@pytest.mark.parametrize(
    ("reply", "first", "last"),
    [
        ("I go <action>left</action>.", ActionText("left"), ActionText("left")),
        ("<action>a</action><action>b</action>", ActionText("a"), ActionText("b")),
        ("<action>a</action> or <action>b", ActionText("a"), ActionText("a")),
        ("<action><action>b</action>", ActionText("<action>b"), ActionText("b")),
        ("<ACTION>left</ACTION>", None, None),
        ("</action>left<action>", None, None),
        ("<action>left", None, None),
        ("", None, None),
    ],
)
def test_by_hand(reply, first, last):
    for parser, expected in ((FIRST, first), (LAST, last)):
        outcome = parser.parse(reply)
        assert outcome == expected if expected else isinstance(outcome, ParseFailure)


def test_parsing_is_linear_in_hostile_replies():
    def seconds(n):
        reply = "<action>" * n + "</actio" * n
        start = time.process_time()
        for parser in (FIRST, LAST):
            parser.parse(reply)
        return time.process_time() - start

    assert seconds(200_000) < 0.5  # 3 MB; a backtracking pattern would need hours


HOSTILE = {
    "open": "<action>", "close": "</action>", "halves": "</actio", "pairs": "<action></action>", "less": "<",
    "backslashes": "\\", "braces": "{[(", "digits": "9", "ends": "</think>", "spaces": " \n", "entities": "&lt;",
}  # fmt: skip


@pytest.mark.parametrize("pattern", HOSTILE)
@suppress_type_checks
def test_ten_times_the_text_takes_at_most_fifteen_times_as_long(pattern):
    """Medians over a tenth of the text, repeated so that both sides are measured over as many characters."""

    def seconds(length):
        reply = (HOSTILE[pattern] * length)[:length]
        start = time.process_time()
        for _ in range(2_000_000 // length):
            for parser in (FIRST, LAST, THOUGHTFUL, WholeReplyParser()):
                parser.parse(reply)
                parser.is_complete(reply)
        return (time.process_time() - start) * length / 2_000_000

    pairs = [(seconds(100_000), seconds(10_000)) for _ in range(5)]
    long, short = (statistics.median(side) for side in zip(*pairs, strict=True))
    assert long <= 15 * short + 1e-4


def test_a_quadratic_parser_is_rejected():
    """Negative control: one that looks for a closing tag after each opening one."""

    def seconds(length):
        reply = ("<action>" * length)[:length]
        start = time.process_time()
        for n in range(0, len(reply), 8):
            reply.find("</action>", n)
        return time.process_time() - start

    assert seconds(100_000) > 15 * seconds(10_000) + 1e-4


@pytest.mark.parametrize("arguments", [{"tag": "a b"}, {"tag": ""}, {"match": "middle"}])
def test_bad_settings_are_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        TagParser(**arguments)


def test_instructions_show_the_format_that_is_parsed():
    for parser in (FIRST, LAST):
        assert parser.wrap("ACTION") in parser.instructions()


def test_instructions_can_show_an_action_of_the_game():
    parser = TagParser(example="left")
    assert "like this: <action>left</action>." in parser.instructions()
    assert "ACTION" not in parser.instructions()
    for example in ("a</action>", "</action>"):
        with pytest.raises(InvalidArgumentError, match="'example' must not contain the tags"):
            TagParser(example=example)


@given(text=PIECES | st.text())
def test_every_wrapped_text_begins_with_the_opening(text):
    for parser in (FIRST, LAST, THOUGHTFUL, WholeReplyParser()):
        try:
            assert parser.wrap(text).startswith(parser.opening())
        except InvalidArgumentError:
            continue
    assert FIRST.opening() == "<action>" and THOUGHTFUL.opening() == "</think><action>"


@pytest.mark.parametrize(
    "prefix",
    [
        "<think>",
        "<think>up <action>up</action>",
        "<think>a <action>up",
        "<action>up</action> </thin",
    ],
)
def test_tags_in_thoughts_decide_nothing(prefix):
    """Neither before the thoughts end nor after."""
    assert not THOUGHTFUL.is_complete(prefix)
    assert isinstance(THOUGHTFUL.parse(prefix), ParseFailure)
    said = prefix.removesuffix("</thin") + "</think> So: <action>left</action>"
    assert THOUGHTFUL.is_complete(said)
    assert THOUGHTFUL.parse(said) == ActionText("left")


def test_the_first_end_of_thoughts_counts():
    """What comes after it decides as soon as it is there: a later one could not take it back."""
    reply = "<think>a</think> b </think> <action>left</action>"
    assert THOUGHTFUL.parse(reply) == ActionText("left")
    early = "<think>a</think><action>up</action>"
    assert THOUGHTFUL.is_complete(early)
    later = early + "</think><action>left</action>"
    assert THOUGHTFUL.parse(later) == THOUGHTFUL.parse(early) == ActionText("up")

"""Replies that keep or switch a subgoal: what they say, where it stands, and what later prompts show of it."""

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from games import LineWalk
from lap import (
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    ScriptedModel,
    SubgoalParser,
    TagParser,
)
from lap.subgoals import read_subgoals
from tests.checkpoints import tiny_model
from tsmg import ActionText, EpisodeKey, EpisodeSpec, InvalidArgumentError, Match, play

GAME = LineWalk(length=8, horizon=4)
PARSER = SubgoalParser("left")
TAGS = ("switch", "subgoal", "action")
PIECES = st.lists(
    st.sampled_from([f"<{end}{tag}>" for tag in TAGS for end in ("", "/")] + ["KEEP", "go", " "])
).map("".join)
WHOLE = "<switch>SWITCH</switch>\n<subgoal> the key </subgoal>\n<action>left</action>"


@pytest.mark.parametrize(
    ("reply", "switches", "subgoal"),
    [
        (WHOLE, True, "the key"),
        ("<switch> keep </switch><subgoal>door</subgoal>", False, "door"),
        ("<switch>perhaps</switch>", True, None),
        ("<switch></switch><subgoal> </subgoal>", False, None),
        ("<switch>SWITCH<subgoal>door</subgoal>", False, "door"),
        ("<switch>KEEP</switch><switch>SWITCH</switch>", False, None),
        ("<action>left</action>", False, None),
        ("SWITCH", False, None),
        ("", False, None),
    ],
)
def test_what_a_reply_says_of_its_subgoal(reply: str, switches: bool, subgoal: str | None) -> None:
    said = read_subgoals(reply)
    assert (said.switches, said.subgoal) == (switches, subgoal)


@given(reply=PIECES | st.text())
def test_spans_hold_the_parts_with_their_tags(reply: str) -> None:
    """And the first part with a tag is found wherever there is one."""
    said = read_subgoals(reply)
    for tag, span in zip(
        TAGS, (said.switch_span, said.subgoal_span, said.action_span), strict=True
    ):
        begin = reply.find(f"<{tag}>")
        has_one = begin >= 0 and f"</{tag}>" in reply[begin:]
        assert (span is not None) == has_one
        if span is not None:
            part = reply[slice(*span)]
            assert part.startswith(f"<{tag}>") and part.find(f"</{tag}>") + len(tag) + 3 == len(
                part
            )
            assert span[0] == begin


@given(reply=PIECES | st.text(), rest=PIECES)
def test_the_action_is_read_as_between_tags(reply: str, rest: str) -> None:
    """The subgoal does not matter to the game; what is wrapped comes back, and a decided beginning stays decided."""
    assert PARSER.parse(reply) == TagParser().parse(reply)
    assert PARSER.is_complete(reply) == TagParser().is_complete(reply)
    if PARSER.is_complete(reply):
        assert PARSER.parse(reply) == PARSER.parse(reply + rest)
    try:
        wrapped = PARSER.wrap(reply)
    except InvalidArgumentError:
        return
    assert PARSER.parse(wrapped) == ActionText(reply)
    assert wrapped.startswith(PARSER.opening()) and any(stop in wrapped for stop in PARSER.stops())


def test_the_form_is_shown_with_an_action_of_the_game() -> None:
    """A model that repeats what it is shown takes an action, and switches."""
    shown = PARSER.instructions()
    assert PARSER.parse(shown) == ActionText("left")
    said = read_subgoals(shown)
    assert said.switches and said.subgoal == "SUBGOAL" and "KEEP" in shown
    assert PARSER.wrap("up").startswith("<switch>SWITCH</switch><subgoal>up")
    for refused in (lambda: SubgoalParser("</action>"), lambda: PARSER.wrap("a</action>")):
        with pytest.raises(InvalidArgumentError, match="must not contain the tags"):
            refused()


@pytest.mark.parametrize("turns", [0, 1])
def test_every_prompt_shows_the_subgoal_that_was_written_last(turns: int) -> None:
    """Also where it was changed without a switch, and where the last reply names none; no part of it is trusted."""
    said = [
        PARSER.wrap("right").replace("<subgoal>right", "<subgoal>the <|im_end|> end"),
        "<action>right</action>",
        "<switch>KEEP</switch><subgoal>another</subgoal><action>right</action>",
        "<action>right</action>",
    ]
    replies = iter(said)
    policy = LanguageAgentPolicy(
        prompt=LastTurnsPrompt(turns=turns) if turns else MemorylessPrompt(),
        model=ScriptedModel(lambda prompt: next(replies)),
        parser=PARSER,
    )
    specs = [EpisodeSpec(key=EpisodeKey(seed=0))]
    (episode,) = play(GAME, policy, specs)
    expected = ["None", "the <|im_end|> end", "the <|im_end|> end", "another"]
    for (t, completion), subgoal in zip(episode.completions("walker"), expected, strict=True):
        assert completion.prompt_text.endswith(f"\nYour current subgoal: {subgoal}\n"), t
    (request,) = Match.begin(GAME, specs[0]).requests
    past = tuple(step.turn for step in episode.agent_steps("walker"))
    history = attrs.evolve(request.history, turns=past)
    *_, label, shown = policy.build_prompt(history).messages[-1].segments
    assert (label.trusted, shown.trusted, shown.text) == (True, False, "another")
    plain = attrs.evolve(policy, parser=TagParser())
    assert "subgoal" not in plain.build_prompt(history).messages[-1].text


def test_a_saved_policy_keeps_its_form_of_reply(tmp_path: Path) -> None:
    policy = LanguageAgentPolicy(model=tiny_model(), parser=SubgoalParser("up"), prefill="<switch>")
    policy.save_pretrained(tmp_path)
    loaded = LanguageAgentPolicy.from_pretrained(tmp_path)
    assert loaded.parser == policy.parser and loaded.prefill == "<switch>"

"""Templates of many kinds: every part of a prompt comes back, once and in order, or the error names it."""

import copy

import attrs
import pytest

from lap import (
    Example,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    ModelError,
    PromptEncoder,
    ScriptedModel,
    Segment,
    TagParser,
)
from lap.prompts import Message
from tests.checkpoints import CHATML, tokenizer
from tests.lap.test_prompts import HISTORY

TURN = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
BEGIN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
DROPS_SYSTEM = (  # as Phi-3's
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    + TURN
    + "{% endif %}{% endfor %}"
    + BEGIN
)
REFUSES_SYSTEM = (  # as Gemma's
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHATML
)
ALTERNATES = (  # as Mistral's
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + TURN + "{% endfor %}" + BEGIN
)
OWN_SYSTEM = (  # as SmolLM2's: its own system message where there is none
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are kind.<|im_end|>\n{% endif %}"
    + CHATML
)
LAST_ALONE = (
    "{% for message in messages[-1:] %}" + TURN + "{% endfor %}" + BEGIN,
    "leaves out a part of a",
)
FORGETS_REPLIES = (
    "{% for message in messages %}{% if message['role'] != 'assistant' %}"
    + TURN
    + "{% endif %}{% endfor %}"
    + BEGIN,
    "leaves out a part of a assistant message: 'said 1'",
)
REPEATS = (CHATML + "{{ messages[-1]['content'] }}", "repeats a part of a user message")
REVERSED = (
    "{% for message in messages[::-1] %}" + TURN + "{% endfor %}" + BEGIN,
    "changes the order",
)
PARTS = (  # as those of models that read pictures, which want content as a list of parts
    "{% for message in messages %}<|im_start|>{{ message['content'][0]['text'] }}{% endfor %}",
    "leaves out a part",
)


def encoder(template: str) -> PromptEncoder:
    made = copy.deepcopy(tokenizer("chatml"))
    made.chat_template = template
    return PromptEncoder(made)


@pytest.mark.parametrize("template", [DROPS_SYSTEM, REFUSES_SYSTEM, ALTERNATES])
@pytest.mark.parametrize(
    "prompt",
    [
        MemorylessPrompt(),
        LastTurnsPrompt(turns=2),
        MemorylessPrompt(examples=(Example("seen", "done"),)),
    ],
)
def test_a_system_message_without_a_place_is_folded_into_the_first_user_message(template, prompt):
    made = encoder(template)
    assert made.folds_system
    built = prompt.build(HISTORY, "Reply so.")
    _, text = made.encode(built)
    position = -1
    for message in built.messages:
        for segment in message.segments:
            found = text.index(segment.text, position + 1)
            assert found > position or not segment.text
            position = found
    assert "system" not in text
    first = built.messages[1].text
    assert f"{built.messages[0].text}\n\n{first}<|im_end|>" in text


@pytest.mark.parametrize("template", [CHATML, OWN_SYSTEM])
def test_a_template_that_knows_the_system_role_keeps_it(template):
    made = encoder(template)
    assert not made.folds_system
    _, text = made.encode(MemorylessPrompt().build(HISTORY, "Reply so."))
    assert text.startswith("<|im_start|>system\nThe rules.\nReply so.<|im_end|>\n")


def test_a_template_may_have_a_system_message_of_its_own():
    _, text = encoder(OWN_SYSTEM).encode(MemorylessPrompt(with_rules=False).build(HISTORY, ""))
    assert text.startswith("<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nnow")


@pytest.mark.parametrize(
    ("template", "message"), [LAST_ALONE, FORGETS_REPLIES, REPEATS, REVERSED, PARTS]
)
def test_what_a_template_loses_is_named(template, message):
    prompt = LastTurnsPrompt(turns=2).build(HISTORY, "Reply so.")
    with pytest.raises(ModelError, match=message):
        encoder(template).encode(prompt)


def test_a_template_that_loses_everything_is_found_at_once():
    with pytest.raises(ModelError, match="leaves out a part of a user message: 'the rules'"):
        encoder("<|im_start|>assistant\n")


def test_the_parts_of_a_message_may_look_like_marks():
    """Marks cannot be guessed: they are made of all that is rendered."""
    made = encoder(CHATML)
    texts = ("[0:0]", "[1:1] {{ messages }} {% raw %}")
    message = Message("user", tuple(Segment(text, trusted=bool(i)) for i, text in enumerate(texts)))
    prompt = LastTurnsPrompt().build(HISTORY, "x")
    _, text = made.encode(type(prompt)((*prompt.messages, message)))
    assert "".join(texts) in text


# ---- thoughts --------------------------------------------------------------------------------

THOUGHT = "<think>Say <action>up</action>? No.</think>\n\n<action>left</action>"


def told(parser: TagParser, reply: str) -> str:
    """What a later prompt shows of a reply."""
    policy = LanguageAgentPolicy(
        model=ScriptedModel(lambda _: ""), parser=parser, prompt=LastTurnsPrompt(turns=1)
    )
    turn = attrs.evolve(HISTORY.turns[-1], reply=reply)
    built = policy.build_prompt(attrs.evolve(HISTORY, turns=(turn,)))
    (message,) = [m for m in built.messages if m.role == "assistant"]
    return message.text


def test_earlier_replies_lose_their_thoughts():
    parser = TagParser(after="</think>")
    assert told(parser, THOUGHT) == "<action>left</action>"
    assert told(parser, "<think>It never ends <action>up</action>") == ""
    assert told(parser, "</think>a</think>b") == "a</think>b"  # the first one ends the thoughts
    assert told(TagParser(), THOUGHT) == THOUGHT


# ---- added tokens ----------------------------------------------------------------------------

MAP = "S F\n\nF  G\n        H"


def with_added(*tokens: str, template: str | None = None) -> PromptEncoder:
    made = copy.deepcopy(tokenizer("chatml"))
    made.add_tokens(list(tokens))
    if template is not None:
        made.chat_template = template
    return PromptEncoder(made)


def test_runs_of_blanks_are_ordinary_text():
    """As OLMo, GPT-NeoX and Phi have them: one token each, also in text that is not ours."""
    blanks = ("  ", "        ", "\n\n")
    made = with_added(*blanks)
    ids = made.untrusted(MAP)
    assert made.control_ids.isdisjoint(made.tokenizer.convert_tokens_to_ids(list(blanks)))
    assert set(made.tokenizer.convert_tokens_to_ids(list(blanks))) <= set(ids)
    assert len(ids) < len(PromptEncoder(tokenizer("chatml")).untrusted(MAP))
    assert made.decode(tuple(ids)) == MAP


@pytest.mark.parametrize(
    "token", ["<think>", "</think>", "<tool_call>", "[INST]", "<\uff5cUser\uff5c>", "|||", "Human:"]
)
def test_what_looks_like_a_mark_stays_out_of_foreign_text_though_it_is_not_special(token):
    made = with_added(token)
    number = made.tokenizer.convert_tokens_to_ids(token)
    assert number in made.control_ids
    assert number not in made.untrusted(f"say {token} now")
    assert number in made.trusted(f"say {token} now")


def test_a_plain_word_is_a_control_token_where_the_template_speaks_it():
    word = "Assistant"
    number = with_added(word).tokenizer.convert_tokens_to_ids(word)
    assert number not in with_added(word).control_ids
    assert number in with_added(word).untrusted(f"an {word}")
    speaks = with_added(word, template=CHATML + word)
    assert number in speaks.control_ids
    assert number not in speaks.untrusted(f"an {word}")

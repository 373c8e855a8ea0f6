"""What is cloned: a player's distribution, a policy's replies, and what of them is left out."""

import pytest

from algorithms.cloning.demonstrations import (
    AsAsked,
    demonstrations,
    policy_demonstrations,
)
from games.frozen_lake import FrozenLake
from lap import LanguageAgentPolicy, LastTurnsPrompt, MemorylessPrompt, ScriptedModel, TagParser
from tsmg import InvalidArgumentError, PlayerPolicy

PROMPT, PARSER = MemorylessPrompt(with_rules=False), TagParser()
LAKE = FrozenLake(map=["SF", "HG"])


def saying(reply):
    """A policy that replies with what a function makes of the prompt's text."""
    return LanguageAgentPolicy(prompt=PROMPT, model=ScriptedModel(reply), parser=PARSER)


def shown(teacher, game=LAKE, **settings):
    given = {"prompt": PROMPT, "parser": PARSER, "episodes": 4, **settings}
    found = policy_demonstrations(game, teacher, **given)
    return {one.prompt.text: dict(one.reply_dist) for one in found}


def test_the_replies_of_a_policy_are_an_empirical_distribution():
    player = LAKE.scripted_player()
    start, *_ = demonstrations(LAKE, prompt=PROMPT, parser=PARSER, episodes=1)
    found = shown(PlayerPolicy(LAKE, player), episodes=150)[start.prompt.text]
    for reply, p in start.reply_dist:
        assert found.get(reply, 0.0) == pytest.approx(p, abs=0.15)
    assert sum(found.values()) == pytest.approx(1.0)


def test_replies_are_canonical_unless_they_are_to_be_literal():
    teacher = saying(
        lambda text: (
            "I think. <action> RIGHT </action>" if "P F" in text else "<action>down</action>"
        )
    )
    first = {"<action>right</action>": 1.0}
    assert list(shown(teacher).values()) == [first, {"<action>down</action>": 1.0}]
    assert next(iter(shown(teacher, replies="literal").values())) == {
        "I think. <action> RIGHT </action>": 1.0
    }


def test_invalid_replies_are_left_out():
    teacher = saying(lambda text: "<action>right</action>" if "P F" in text else "hm")
    assert list(shown(teacher).values()) == [{"<action>right</action>": 1.0}]
    with pytest.raises(InvalidArgumentError, match="no reply of the policy names a legal action"):
        shown(saying(lambda text: "hm"))


def test_only_what_succeeded_is_cloned_where_that_is_asked_for():
    fails = saying(lambda text: "<action>down</action>")
    assert len(shown(fails)) == 1
    with pytest.raises(InvalidArgumentError, match="none of 4 episodes of FrozenLake is a success"):
        shown(fails, successful=True)
    mixed = PlayerPolicy(LAKE, LAKE.scripted_player())
    everything = shown(mixed, episodes=60)
    chosen = shown(mixed, episodes=60, successful=True)
    (start,) = [text for text in chosen if "P F" in text]
    assert everything[start]["<action>down</action>"] > 0.02  # into the hole
    assert "<action>down</action>" not in chosen[start]


def test_a_game_without_a_notion_of_success_is_refused():
    import games

    game = games.make("MatchingPennies-v0")
    with pytest.raises(InvalidArgumentError, match="does not say which episodes are a success"):
        shown(saying(lambda text: "<action>heads</action>"), game, successful=True)


def test_past_turns_hold_the_replies_that_are_cloned():
    prompt = LastTurnsPrompt(turns=1, with_rules=False)
    teacher = saying(
        lambda text: "<action>RIGHT</action>" if "P F" in text else "<action>down</action>"
    )
    _, second = policy_demonstrations(LAKE, teacher, prompt=prompt, parser=PARSER, episodes=1)
    assert "<action>right</action>" in second.prompt.text


def test_prompts_are_those_that_the_policy_asks():
    """Also where a policy adds to what its prompt and parser say: what it plays by is what is cloned."""
    asked = []
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(),
        model=ScriptedModel(lambda text: asked.append(text) or "<action>right</action>"),
        parser=PARSER,
    )
    found = policy_demonstrations(LAKE, policy, prompt=AsAsked(policy), parser=PARSER, episodes=1)
    assert [one.prompt.text for one in found] == list(dict.fromkeys(asked))


def test_a_demonstration_knows_which_texts_are_legal_there():
    one, *_ = demonstrations(LAKE, prompt=PROMPT, parser=PARSER, episodes=1)
    assert one.is_legal(" Down ") and not one.is_legal("jump")

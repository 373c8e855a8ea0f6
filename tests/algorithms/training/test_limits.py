"""What is refused before anything is played."""

import pytest

from algorithms import MSGRPOConfig, MSGRPOTrainer
from games.frozen_lake import FrozenLake
from lap import (
    ContextLengthError,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    Sampling,
    TabularModel,
)
from tests.checkpoints import tiny_model
from tsmg import EpisodeKey, EpisodeSpec, InvalidArgumentError, play

SHORT = MemorylessPrompt(with_rules=False)


def trainer(model, **settings):
    policy = LanguageAgentPolicy(prompt=settings.pop("prompt", SHORT), model=model)
    return MSGRPOTrainer(game=FrozenLake(), policy=policy, config=MSGRPOConfig(**settings))


def test_a_reply_limit_within_which_no_action_can_be_said():
    with pytest.raises(
        InvalidArgumentError, match=r"'max_reply_tokens' must be at least 3 .* \(got 2\)"
    ):
        trainer(tiny_model(), max_reply_tokens=2)
    trainer(tiny_model(), max_reply_tokens=3)


def test_tokens_that_are_not_known_are_not_counted():
    trainer(TabularModel(("a",)), max_reply_tokens=1)


def test_a_first_prompt_that_is_too_long():
    with pytest.raises(ContextLengthError, match=r"prompt of \d+ tokens .* context of 512"):
        trainer(tiny_model(), max_reply_tokens=500)


def test_a_game_that_outgrows_the_context_is_named_with_step_and_agent():
    """All turns in the prompt: at some step they are too many."""
    policy = LanguageAgentPolicy(
        prompt=LastTurnsPrompt(turns=50, with_rules=False),
        model=tiny_model(sharp=3.0),
        sampling=Sampling(max_reply_tokens=30),
    )
    game = FrozenLake(horizon=40)
    with pytest.raises(ContextLengthError) as caught:
        play(game, policy, [EpisodeSpec(key=EpisodeKey(seed=0))])
    told = " ".join(caught.value.__notes__)
    assert "asked of 'player' at step" in told
    assert "while FrozenLake was played" in told

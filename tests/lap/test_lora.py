"""Adapters: what is learnt, what stays, what is saved."""

import copy

import pytest
import torch

from algorithms import MSGRPOConfig, MSGRPOTrainer
from games.frozen_lake import FrozenLake
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Message,
    ModelError,
    Prompt,
    Sampling,
    Segment,
    TransformersModel,
)
from tests.checkpoints import tiny_model
from tsmg import InvalidArgumentError, Stream

PROMPTS = [
    Prompt((Message("user", (Segment(text, trusted=False),)),)) for text in ("P F\nF G", "F P")
]
SAMPLING = Sampling(max_reply_tokens=4)


def rngs():
    return [Stream(0, "lora", i) for i in range(len(PROMPTS))]


def saved_base(folder):
    tiny_model(sharp=3.0).save_pretrained(folder)
    return TransformersModel.from_pretrained(folder)


def logprobs(model, completions):
    return model.logprobs(completions, sampling=SAMPLING).logprobs_B_L.detach()


def moved(model):
    """The adapters, away from their start, at which they change nothing."""
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    return model


def learnt_model():
    """A model with adapters that have learnt something."""
    return moved(tiny_model(sharp=3.0).with_lora(LoraSettings(r=2)))


def test_fresh_adapters_change_nothing_and_alone_are_learnt():
    plain = tiny_model(sharp=3.0)
    completions = plain.sample(PROMPTS, rngs(), sampling=SAMPLING)
    expected = logprobs(plain, completions)
    adapted = plain.with_lora(LoraSettings(r=2))
    assert torch.equal(logprobs(adapted, completions), expected)
    learnt = {n for n, p in adapted.network.named_parameters() if p.requires_grad}
    assert learnt and all("lora_" in name for name in learnt)
    assert not any("lm_head" in name or "embed" in name for name in learnt)


def test_adapters_off_is_the_model_without_them():
    plain = tiny_model(sharp=3.0)
    completions = plain.sample(PROMPTS, rngs(), sampling=SAMPLING)
    expected = logprobs(plain, completions)
    adapted = moved(plain.with_lora(LoraSettings(r=2)))
    assert not torch.allclose(logprobs(adapted, completions), expected, atol=1e-2)
    torch.testing.assert_close(logprobs(adapted.without_adapters(), completions), expected)
    assert not torch.allclose(
        logprobs(adapted, completions), expected, atol=1e-2
    )  # they are on again


def test_merged_adapters_give_the_same_law_as_an_ordinary_checkpoint(tmp_path):
    adapted = moved(tiny_model(sharp=3.0).with_lora(LoraSettings(r=2)))
    completions = adapted.sample(PROMPTS, rngs(), sampling=SAMPLING)
    expected = logprobs(adapted, completions)
    merged = adapted.merged()
    assert not merged.has_adapters
    torch.testing.assert_close(logprobs(merged, completions), expected, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()
    loaded = TransformersModel.from_pretrained(tmp_path)
    torch.testing.assert_close(logprobs(loaded, completions), expected, rtol=1e-4, atol=1e-4)


def test_a_policy_with_adapters_is_saved_as_its_adapters_and_loaded_onto_its_base(tmp_path):
    adapted = moved(saved_base(tmp_path / "base").with_lora(LoraSettings(r=2)))
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False), model=adapted, sampling=SAMPLING
    )
    policy.save_pretrained(tmp_path / "adapters")
    names = {file.name for file in (tmp_path / "adapters").iterdir()}
    assert "adapter_model.safetensors" in names and "model.safetensors" not in names
    loaded = LanguageAgentPolicy.from_pretrained(tmp_path / "adapters")
    assert loaded.model.has_adapters
    completions = adapted.sample(PROMPTS, rngs(), sampling=SAMPLING)
    torch.testing.assert_close(logprobs(loaded.model, completions), logprobs(adapted, completions))
    assert any(p.requires_grad for p in loaded.model.network.parameters())


def test_training_moves_the_adapters_and_measures_the_kl_to_the_base():
    """At the first update the policy is its base: ratio 1, KL 0; later the KL is above 0. The base stays."""
    model = tiny_model(sharp=3.0).with_lora(LoraSettings(r=4))
    before = {n: p.detach().clone() for n, p in model.network.named_parameters()}
    policy = LanguageAgentPolicy(prompt=MemorylessPrompt(with_rules=False), model=model)
    config = MSGRPOConfig(
        updates=4, groups=2, group_size=4, kept_episodes=2, max_reply_tokens=3,
        kl_coefficient=0.05, entropy_coefficient=0.5, learning_rate=0.05, schedule="constant",
    )  # fmt: skip
    trainer = MSGRPOTrainer(game=FrozenLake(horizon=3), policy=policy, config=config)
    metrics = trainer.train()
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert metrics[0]["ratio_max_deviation"] < 1e-4
    assert metrics[-1]["kl"] > 1e-6
    changed = {n for n, p in model.network.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("lora_" in name for name in changed)


def test_a_frozen_copy_of_adapters_is_apart_from_them():
    adapted = moved(tiny_model(sharp=3.0).with_lora(LoraSettings(r=2)))
    completions = adapted.sample(PROMPTS, rngs(), sampling=SAMPLING)
    expected = logprobs(adapted, completions)
    apart = copy.copy(adapted)
    apart.network = copy.deepcopy(adapted.network)
    moved_again = next(p for n, p in adapted.network.named_parameters() if "lora_B" in n)
    with torch.no_grad():
        moved_again.zero_()
    torch.testing.assert_close(logprobs(apart, completions), expected)


@pytest.mark.parametrize("text", ["r=0", "r=x", "rank=3", "alpha", "alpha=0", "targets="])
def test_bad_settings_are_refused_by_name(text):
    with pytest.raises(InvalidArgumentError, match=r"'r'|'alpha'|LoRA takes"):
        LoraSettings.parse(text)


def test_what_cannot_be_adapted_is_said():
    with pytest.raises(ModelError, match="no adapters can be added"):
        tiny_model().with_lora(LoraSettings(targets=("nothing",)))
    with pytest.raises(ModelError, match="has adapters already"):
        tiny_model().with_lora().with_lora()
    assert LoraSettings.parse("") == LoraSettings()

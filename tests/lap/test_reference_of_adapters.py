"""The reference of a model with adapters is the model as training found it, whatever the adapters had learnt before."""

import attrs
import pytest
import torch

from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.method.batch import TrainingRow
from algorithms.training.learner import Learner, learners_of
from games.frozen_lake import FrozenLake
from lap import LanguageAgentPolicy, LoraSettings, MemorylessPrompt, Sampling
from lap.lora import AdaptersFrozen, AdaptersOff, is_adapter
from lap.policy import reference_policy
from tests.checkpoints import tiny_model
from tests.lap.test_lora import PROMPTS, SAMPLING, logprobs, moved, rngs

CONFIG = MSGRPOConfig(
    updates=2, groups=2, group_size=4, kept_episodes=2, max_reply_tokens=3, learning_rate=0.05,
    schedule="constant",
)  # fmt: skip


def learnt(r=2):
    """A model whose adapters have learnt something before."""
    return moved(tiny_model(sharp=3.0).with_lora(LoraSettings(r=r)))


def learn_on(model, scale=0.2):
    """Move what is learnt, as training would."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def test_it_is_the_model_at_the_start_and_stays_so():
    model = learnt()
    completions = model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    start = logprobs(model, completions)
    reference = model.reference_model()
    assert torch.equal(logprobs(reference, completions), start)
    learn_on(model)
    assert torch.equal(logprobs(reference, completions), start)
    now = logprobs(model, completions)  # the adapters that learn are in their places again
    assert float((now - start).abs().max()) > 0.1
    assert float((logprobs(model.without_adapters(), completions) - start).abs().max()) > 0.1


def test_two_references_of_one_model_are_two():
    model = learnt()
    completions = model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    expected = []
    references = []
    for _ in range(2):
        references.append(model.reference_model())
        expected.append(logprobs(model, completions))
        learn_on(model)
    for reference, start in zip(references, expected, strict=True):
        assert torch.equal(logprobs(reference, completions), start)


def test_it_takes_the_memory_of_the_adapters_alone_and_fresh_ones_are_switched_off():
    model = learnt()
    reference = model.reference_model().network
    assert isinstance(reference, AdaptersFrozen)
    shared = {p.data_ptr() for p in model.network.parameters()}
    own = sum(p.numel() for p in reference.parameters() if p.data_ptr() not in shared)
    assert own == sum(p.numel() for n, p in model.network.named_parameters() if is_adapter(n))
    assert not any(p.requires_grad for p in reference.copies.parameters())
    assert isinstance(tiny_model().with_lora().reference_model().network, AdaptersOff)


def test_a_pass_that_fails_leaves_the_adapters_that_learn():
    model = learnt()
    reference = model.reference_model()
    learn_on(model)
    completions = model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    before = logprobs(model, completions)
    with pytest.raises(ValueError, match="input_ids"):
        reference.network()
    assert torch.equal(logprobs(model, completions), before)


def test_its_digest_covers_the_adapters_that_it_has_and_no_others():
    model, other = learnt(), learnt()
    assert model.reference_model().digest() == other.reference_model().digest()
    learn_on(other)
    assert model.reference_model().digest() != other.reference_model().digest()
    assert model.digest() != other.digest()
    fresh = [tiny_model().with_lora(seed=seed).reference_model().digest() for seed in (0, 1)]
    assert fresh[0] == fresh[1]  # adapters that change nothing are not of the reference


@pytest.mark.parametrize("kl_coefficient", [0.0, 0.05])
def test_the_kl_is_0_at_the_first_update_and_above_0_later(kl_coefficient):
    policy = LanguageAgentPolicy(prompt=MemorylessPrompt(with_rules=False), model=learnt(r=4))
    config = attrs.evolve(CONFIG, kl_coefficient=kl_coefficient, entropy_coefficient=0.5)
    trainer = MSGRPOTrainer(game=FrozenLake(horizon=3), policy=policy, config=config)
    metrics = trainer.train()
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert metrics[-1]["ratio_max_deviation"] < 1e-3
    assert metrics[-1]["kl"] > 1e-6


# ---- the gradient of the loss ----------------------------------------------------------------


def gradient_of_kl(learner, completions):
    """The gradient of the KL term of the trainer's loss in what is learnt: advantages are 0."""
    rows = [
        TrainingRow(agent="player", completion=c, advantage=0.0, weight=1.0) for c in completions
    ]
    for parameter in learner.parameters:
        parameter.grad = None
    terms, _ = learner.loss(rows, CONFIG, regularisation=1.0)
    terms.loss.backward()
    return torch.cat([p.grad.reshape(-1) for p in learner.parameters])


def gradient_by_hand(model, start, completions):
    """The same by plain passes, one reply at a time; ``start`` holds the log-probabilities of the starting model."""
    total = torch.zeros(())
    for completion, start_L in zip(completions, start, strict=True):
        logits_L_V = full_logits(model, completion)
        logprobs_L = logits_L_V.log_softmax(-1).gather(
            1, torch.tensor(completion.reply_ids)[:, None]
        )
        d_L = start_L - logprobs_L[:, 0]
        total = total + CONFIG.kl_coefficient * (d_L.exp() - d_L - 1).sum()
    parameters = [p for p in model.network.parameters() if p.requires_grad]
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, parameters)])


def full_logits(model, completion):
    ids = torch.tensor([completion.prompt_ids + completion.reply_ids])
    return model.network(ids).logits[0, len(completion.prompt_ids) - 1 : -1].float()


def start_logprobs(model, completions):
    with torch.no_grad():
        return [
            full_logits(model, c)
            .log_softmax(-1)
            .gather(1, torch.tensor(c.reply_ids)[:, None])[:, 0]
            for c in completions
        ]


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_the_gradient_of_the_loss_is_that_of_the_kl_to_the_starting_model():
    """An independent copy of the starting model gives the same gradient; the base in its place gives another one."""
    model, independent = learnt(), learnt()
    policy = LanguageAgentPolicy(model=model, sampling=Sampling(max_reply_tokens=4))
    (learner,) = learners_of({"player": policy})
    completions = model.sample(PROMPTS, rngs(), sampling=SAMPLING)
    assert float(gradient_of_kl(learner, completions).norm()) < 1e-5  # none at the start
    learn_on(model, scale=0.02)
    found = gradient_of_kl(learner, completions)
    expected = gradient_by_hand(model, start_logprobs(independent, completions), completions)
    assert float(expected.norm()) > 1e-3
    assert relative(found, expected) < 1e-4

    base = attrs.evolve(policy, model=model.without_adapters())
    wrong = Learner(policy=policy, reference=base, agents=("player",))
    assert relative(gradient_of_kl(wrong, completions), expected) > 0.5
    assert reference_policy(policy).model is not policy.model

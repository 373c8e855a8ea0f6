"""Learning shares prompts and beginnings of replies; its gradient is that of plain padded rows."""

import copy

import attrs
import pytest
import torch

from algorithms import MSGRPOTrainer
from algorithms.play.rollouts import collect_groups
from games import FrozenLake
from lap import LanguageAgentPolicy, MemorylessPrompt, TransformersModel
from tests.benchmarks.plain_loop import Sample, backward
from tests.checkpoints import tiny_model
from tests.runs import SMALL_RUN

GAME = FrozenLake(horizon=3)
CONFIG = attrs.evolve(SMALL_RUN, sampling="all", std="none", max_reply_tokens=4)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def recorded():
    """A trainer in float64, and rows of several lengths and advantages."""
    model = tiny_model(sharp=2.0)
    network = copy.deepcopy(model.network).double()
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=TransformersModel(network, model.tokenizer, chat=False),
    )
    trainer = MSGRPOTrainer(game=GAME, policy=policy, config=CONFIG)
    groups = collect_groups(GAME, trainer.policy, seed=0, update=0, groups=3, group_size=8).groups
    role_groups = trainer.estimator.role_groups(groups, GAME.agents)
    selected = trainer.estimator.draw(role_groups, [])
    rows = trainer.estimator.rows(role_groups, selected, asked=len(role_groups))
    return trainer, [
        attrs.evolve(
            row,
            completion=shortened(row.completion, 1 + i % 4),
            advantage=(-1.0) ** i * (1 + i % 7),
        )
        for i, row in enumerate(rows)
    ]


def shortened(completion, tokens):
    """A random network never ends its replies: cut some, so that rows differ in length."""
    return attrs.evolve(
        completion,
        reply_ids=completion.reply_ids[:tokens],
        trainable=completion.trainable[:tokens],
        logprobs=completion.logprobs[:tokens],
    )


def gradient(network, act):
    network.zero_grad()
    act()
    return torch.cat([p.grad.flatten().clone() for p in network.parameters()])


def difference(recorded, samples):
    """Norm of the difference to the plain gradient over its norm."""
    trainer, rows = recorded
    network = trainer.policy.model.network
    ours = gradient(network, lambda: trainer.backward(rows))
    plain = gradient(network, lambda: backward(network, samples, clip=CONFIG.clip, rows=5))
    assert plain.norm() > 0
    return float((ours - plain).norm() / plain.norm())


def test_the_learning_pass_has_the_gradient_of_the_plain_loop(recorded):
    _, rows = recorded
    prompts = {row.completion.prompt_ids for row in rows}
    assert len({len(row.completion.reply_ids) for row in rows}) > 1
    assert len(prompts) < len(rows)
    assert difference(recorded, [Sample.of(row) for row in rows]) <= TOLERANCE


def test_rows_that_are_forgotten_or_given_to_another_prompt_are_noticed(recorded):
    samples = [Sample.of(row) for row in recorded[1]]
    assert difference(recorded, samples[1:]) > TOLERANCE
    other = next(s for s in samples if s.prompt_ids != samples[0].prompt_ids)
    swapped = [attrs.evolve(samples[0], prompt_ids=other.prompt_ids), *samples[1:]]
    assert difference(recorded, swapped) > TOLERANCE

"""Value heads: what they read, their gradient, what they learn, and how they are kept."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import games
from algorithms import Estimator, MSGRPOConfig, MSGRPOTrainer
from algorithms.errors import RunFolderError
from algorithms.method.batch import TrainingRow
from algorithms.method.critic import CriticCredit
from algorithms.method.value_functions import Position, TableCritic
from algorithms.runs.state import TrainingState
from algorithms.training.snapshot import load_training_state, training_state
from algorithms.training.value_heads import HeadCritic
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Sampling,
    TabularModel,
    WholeReplyParser,
)
from lap.engine.scoring import sampled_places, score
from lap.errors import ModelError
from tests.checkpoints import tiny_model
from tsmg import Completion, InvalidArgumentError, PlayRandomLegal, with_invalid_rule

GAMES: dict[str, dict[str, int]] = {
    "LineWalk-v0": {"length": 6, "horizon": 4},
    "PrisonersDilemma-v0": {"rounds": 2},
}
SETTINGS: dict[str, Any] = {
    "updates": 6,
    "groups": 2,
    "group_size": 3,
    "max_reply_tokens": 4,
    "sampling": "all",
    "credit": "critic",
    "critic": "head",
    "gae": "token",
    "learning_rate": 1e-2,
}


def trainer_of(
    game: str = "LineWalk-v0", *, lora: bool = False, own: bool = False, **settings: Any
) -> MSGRPOTrainer:
    """With what is said leading somewhere; agents have policies of their own, if asked for."""

    def policy(seed: int) -> LanguageAgentPolicy[Any]:
        model = tiny_model(seed=seed)
        return LanguageAgentPolicy(
            prompt=MemorylessPrompt(with_rules=False),
            model=model.with_lora(LoraSettings(r=4)) if lora else model,
            sampling=Sampling(max_reply_tokens=4),
        )

    made = with_invalid_rule(games.make(game, **GAMES[game]), PlayRandomLegal(penalty=0.1))
    policies = {agent: policy(n) for n, agent in enumerate(made.agents)} if own else policy(0)
    return MSGRPOTrainer(
        game=made, policy=policies, config=MSGRPOConfig(**{**SETTINGS, **settings})
    )


def credit_of(trainer: MSGRPOTrainer) -> CriticCredit:
    rule = trainer.estimator.credit
    assert isinstance(rule, CriticCredit)
    return rule


def rows_of(trainer: MSGRPOTrainer) -> list[TrainingRow]:
    """The rows of an update, not learnt from yet."""
    compared = trainer.player.play_until_enough(0, trainer.estimator)
    drawn = trainer.estimator.draw(compared.passed, [None] * len(compared.passed))  # type: ignore[list-item]
    return trainer.estimator.rows(compared.passed, drawn, asked=compared.asked)


def shake(trainer: MSGRPOTrainer) -> None:
    """Give heads weights, so that values differ, and gradients go on into the network."""
    generator = torch.Generator().manual_seed(0)
    for learner in trainer.learners:
        for parameter in learner.value_head.parameters():
            torch.nn.init.normal_(parameter, generator=generator)


def plain_values(trainer: MSGRPOTrainer, completion: Completion) -> torch.Tensor:
    """By another route: the library's own pass over one reply, and its last hidden states before each token."""
    network = trainer.policy.model.network
    ids = torch.tensor([[*completion.prompt_ids, *completion.reply_ids]])
    states = network(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    before = states[len(completion.prompt_ids) - 1 : -1]
    (learner,) = trainer.learners
    linear = learner.value_head.linear
    return before @ linear.weight[0] + linear.bias


@pytest.mark.parametrize("lora", [False, True])
def test_a_value_is_read_off_the_last_hidden_state_before_the_token(lora: bool) -> None:
    trainer = trainer_of(lora=lora)
    critic = credit_of(trainer).critics["walker"]
    completions = [row.completion for row in rows_of(trainer)]
    positions = [Position(c, place) for c in completions for place in sampled_places(c)]
    assert critic.values(positions) == [0.0] * len(positions)  # as it begins
    shake(trainer)
    expected = [plain_values(trainer, p.completion)[p.tokens].item() for p in positions]
    found = critic.values(positions)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len({round(v, 4) for v in found}) > len(completions) / 2


def test_a_reply_without_tokens_has_the_value_of_its_prompt() -> None:
    """Alone, or beside others."""
    trainer = trainer_of()
    shake(trainer)
    critic = credit_of(trainer).critics["walker"]
    said = rows_of(trainer)[0].completion
    empty = attrs.evolve(said, reply_ids=(), trainable=(), logprobs=())
    expected = critic.values([Position(said, 0)])
    assert critic.values([Position(empty, 0)]) == pytest.approx(expected)
    assert critic.values([Position(empty, 0), Position(said, 0)]) == pytest.approx(expected * 2)


@pytest.mark.parametrize("gae", ["turn", "token"])
def test_its_loss_is_half_the_squared_error_and_moves_head_and_network(gae: str) -> None:
    """What it adds to the gradient is that of c sum w (V - R)^2 / 2, by autograd of the library's own passes."""
    trainer = trainer_of(gae=gae, value_coefficient=0.3)
    shake(trainer)
    rows = rows_of(trainer)

    def gradient(coefficient: float, token_budget: int = 10_000) -> torch.Tensor:
        learner = trainer.batch_learner
        learner.config = attrs.evolve(trainer.config, value_coefficient=coefficient)
        learner.token_budget = token_budget
        learner.optimizer.zero_grad()
        trainer.backward(rows)
        return flat_gradient(trainer)

    added = gradient(0.3) - gradient(1e-30)
    trainer.batch_learner.optimizer.zero_grad()
    for row in rows:
        places = sampled_places(row.completion)[: 1 if gae == "turn" else None]
        errors = plain_values(trainer, row.completion)[places] - row.value_target
        (0.3 * row.weight * errors.square().sum() / 2).backward()
    expected = flat_gradient(trainer)
    head = sum(p.numel() for p in trainer.learners[0].value_head.parameters())
    assert expected[:-head].norm() > 1e-2 and expected[-head:].norm() > 1e-2
    assert (added - expected).norm() <= 1e-4 * expected.norm()
    whole = gradient(0.3)
    assert (gradient(0.3, token_budget=40) - whole).norm() <= 1e-5 * whole.norm()


def flat_gradient(trainer: MSGRPOTrainer) -> torch.Tensor:
    parameters = trainer.batch_learner.parameters
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    )


def test_it_learns_what_prompts_come_to() -> None:
    """Returns that follow from the prompt, in place of the true ones; they vary by 2/3."""
    trainer = trainer_of(groups=3, kl_coefficient=0.0)
    rows = rows_of(trainer)
    prompts = list(dict.fromkeys(row.completion.prompt_ids for row in rows))
    told = [
        attrs.evolve(row, advantage=0.0, value_target=prompts.index(row.completion.prompt_ids) % 3)
        for row in rows
    ]
    for _ in range(40):
        trainer.batch_learner.optimizer.zero_grad()
        trainer.backward(told)
        trainer.batch_learner.optimizer.step()
    positions = [Position(row.completion, 0) for row in told]
    values = credit_of(trainer).critics["walker"].values(positions)
    errors = [(v - row.value_target) ** 2 for v, row in zip(values, told, strict=True)]
    assert len(prompts) > 3 and sum(errors) / len(errors) < 0.1


def test_a_run_records_how_far_values_are_off() -> None:
    """Before it has learnt, a head says 0: the mean of the squared returns, over the tokens that they follow."""
    trainer = trainer_of(updates=1)
    rows = rows_of(trainer)
    squares = [row.value_target**2 for row in rows for _ in sampled_places(row.completion)]
    assert trainer.train()[0]["value_error"] == pytest.approx(sum(squares) / len(squares))
    assert "value_error" not in trainer_of(critic="text", updates=1).train()[0]
    assert (
        "| `value_error` |" in (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text()
    )


@pytest.mark.parametrize("own", [False, True])
def test_agents_share_a_head_where_they_share_a_policy(own: bool) -> None:
    trainer = trainer_of("PrisonersDilemma-v0", own=own, updates=2, max_reply_tokens=7)
    trainer.train()
    row, column = credit_of(trainer).critics.values()
    assert (row.state() != column.state()) == own
    assert len(trainer.learners) == 1 + own


@pytest.mark.parametrize("lora", [False, True])
def test_training_goes_on_bit_for_bit_from_a_saved_head(lora: bool, tmp_path: Path) -> None:
    one = trainer_of(lora=lora, bootstrap=True)
    for _ in range(2):
        one.update()
    training_state(one).save(tmp_path)
    rest = [one.update().metrics for _ in range(2)]
    other, forgetful = trainer_of(lora=lora, bootstrap=True), trainer_of(lora=lora, bootstrap=True)
    for trainer in (other, forgetful):
        load_training_state(trainer, TrainingState.load(tmp_path))
    assert [other.update().metrics for _ in range(2)] == rest
    shake(forgetful)
    assert [forgetful.update().metrics for _ in range(2)] != rest
    values = json.loads((tmp_path / "training.json").read_text())
    values["rules"]["credit"]["walker"]["weights"].pop()
    (tmp_path / "training.json").write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match="malformed"):
        load_training_state(other, TrainingState.load(tmp_path))


def test_the_policy_is_saved_without_its_head(tmp_path: Path) -> None:
    trainer = trainer_of(updates=1)
    trainer.train()
    trainer.save_pretrained(tmp_path)
    policy = LanguageAgentPolicy.from_pretrained(tmp_path)
    here, there = (p.model.network.state_dict() for p in (trainer.policy, policy))
    assert here.keys() == there.keys() and all(
        torch.equal(here[name], there[name]) for name in here
    )


def test_what_has_no_hidden_states_is_refused() -> None:
    model = TabularModel(("left", "right"))
    with pytest.raises(
        InvalidArgumentError, match=r"'critic' 'head' reads the last hidden states .* TabularModel"
    ):
        MSGRPOTrainer(
            game=games.make("LineWalk-v0"),
            policy=LanguageAgentPolicy(model=model),
            config=MSGRPOConfig(**SETTINGS),
        )
    padded = tiny_model()
    padded.layout = "padded"
    with pytest.raises(ModelError, match="use a critic of its own"):
        MSGRPOTrainer(
            game=games.make("LineWalk-v0"),
            policy=LanguageAgentPolicy(model=padded, sampling=Sampling(max_reply_tokens=4)),
            config=MSGRPOConfig(**SETTINGS),
        )
    network, head = tiny_model().network, torch.nn.Linear(32, 1)
    said = Completion(prompt_ids=(1,), reply_ids=(2,), trainable=(True,), logprobs=(-1.0,))
    with pytest.raises(ModelError, match="use a critic of its own"):
        score(network, [said], layout="padded", sampling=Sampling(), value_head=head)


def test_critics_that_are_given_are_kept_and_heads_are_those_of_the_newest_trainer() -> None:
    rule, config = CriticCredit(None), MSGRPOConfig(**SETTINGS)
    made = games.make("LineWalk-v0", **GAMES["LineWalk-v0"])
    estimator = Estimator.of(config, made.facts, credit=rule)
    policy = LanguageAgentPolicy(model=tiny_model(), sampling=Sampling(max_reply_tokens=4))
    trainers = [
        MSGRPOTrainer(game=made, policy=policy, config=config, estimator=estimator)
        for _ in range(2)
    ]
    heads = [trainer.learners[0].value_head for trainer in trainers]
    critic = rule.critics["walker"]
    assert isinstance(critic, HeadCritic) and critic.learner.value_head is heads[1] is not None
    rule.critics["walker"] = own = TableCritic()
    trainer = MSGRPOTrainer(
        game=made,
        policy=LanguageAgentPolicy(
            model=TabularModel(("left", "right")), parser=WholeReplyParser()
        ),
        config=config,
        estimator=estimator,
    )
    trainer.update()
    assert rule.critics == {"walker": own} and trainer.learners[0].value_head is None
    assert own.known == {}  # it learns by itself


def test_a_head_is_not_loaded_without_its_network() -> None:
    rule = CriticCredit(None)
    with pytest.raises(InvalidArgumentError, match="only a trainer can load it"):
        rule.load_state({"walker": {"weights": []}})

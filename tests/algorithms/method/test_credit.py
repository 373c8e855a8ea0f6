"""Credit rules: by hand, and by the exact expectation of their gradient over all groups of two."""

import itertools
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from typeguard import suppress_type_checks

from algorithms import credit_rule, group_relative_advantages
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TabularModel, WholeReplyParser
from proofs import trajectories
from tsmg import (
    AbstractExplicitGame,
    Distribution,
    Episode,
    EpisodeGroup,
    InvalidArgumentError,
    PlayDefault,
    Transition,
    deterministic,
)


@attrs.frozen(kw_only=True)
class Road(AbstractExplicitGame[tuple[int, bool], str]):
    """Up to three steps: each step on pays 1, 0 and 4 in turn; stopping pays 2 and ends."""

    agents = ("player",)
    horizon = 3
    discount = 0.5
    invalid_rule = PlayDefault(action="stop", penalty=0.25)

    def initial_state_dist(self) -> Distribution[tuple[int, bool]]:
        return deterministic((0, False))

    def is_terminal(self, state: tuple[int, bool]) -> bool:
        return state[1]

    def acting_agents(self, state: tuple[int, bool]) -> tuple[str, ...]:
        return self.agents

    def legal_actions(self, state: tuple[int, bool], agent: str) -> tuple[str, ...]:
        return ("go", "stop")

    def transition_dist(
        self, state: tuple[int, bool], joint_action: Mapping[str, str]
    ) -> Distribution[Transition[tuple[int, bool]]]:
        if joint_action["player"] == "stop":
            return deterministic(Transition((state[0], True), (2.0,)))
        return deterministic(Transition((state[0] + 1, False), ((1.0, 0.0, 4.0)[state[0]],)))

    def observation_text(self, state: tuple[int, bool], agent: str) -> str:
        return f"stone {state[0]}"

    def action_text(self, state: tuple[int, bool], agent: str, action: str) -> str:
        return action


def walker(seed: int = 0) -> LanguageAgentPolicy[Any]:
    model = TabularModel(("go", "stop"), capacity=8)
    with torch.no_grad():
        torch.manual_seed(seed)
        model.logits.copy_(torch.randn_like(model.logits))
    return LanguageAgentPolicy(
        prompt=MemorylessPrompt(with_rules=False),
        model=model,
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )


def walks() -> dict[tuple[str, ...], Episode[Any]]:
    """Every walk by what was said."""
    return {
        tuple(
            step.agent_steps[0].reply.text for step in trajectory.episode.steps
        ): trajectory.episode
        for trajectory in trajectories(Road(), walker())
    }


def credited(kind: Any, *said: tuple[str, ...]) -> list[list[float]]:
    told = walks()
    group = EpisodeGroup(episodes=tuple(told[one] for one in said))
    return credit_rule(kind, std="none", eps=0.0)(group, "player")


GROUP = (("go", "go", "go"), ("stop",), ("go", "stop"))
# discounted rewards: (1, 0, 1), (2), (1, 1); returns 2, 2, 2


def test_each_rule_by_hand() -> None:
    assert credited("episode", *GROUP) == [[0, 0, 0], [0], [0, 0]]
    assert credited("reward_to_go", *GROUP) == [
        pytest.approx([0, 1 - 2 / 3, 1 - 1 / 3]),
        [0],
        pytest.approx([0, 1 - 2 / 3]),
    ]
    assert credited("turn", *GROUP) == [[0, 0, 0], [0], [0, 0]]  # a third turn has no other
    # from the second stone, discounted from there: 0 + 0.5 * 4 and 2
    assert credited("anchor_state", *GROUP) == [[0, 0, 0], [0], [0, 0]]
    unequal = (("go", "go", "stop"), ("go", "stop"))
    # returns 1 + 0.5 and 1 + 1; from stone 1 on 0.5 * 2 and 2, apart from stone 2, which no other sees
    assert credited("anchor_state", *unequal) == [
        pytest.approx([-0.25 - 0.25, -0.25 - 0.5, -0.25]),
        pytest.approx([0.25 + 0.25, 0.25 + 0.5]),
    ]
    assert credited("turn", *unequal) == [
        pytest.approx([-0.25, -0.25, 0]),
        pytest.approx([0.25, 0.25]),
    ]


def test_invalid_texts_cost_in_every_rule() -> None:
    for kind in ("episode", "reward_to_go", "turn"):
        paid, free = credited(kind, ("",), ("stop",))
        assert paid == [pytest.approx(-0.125)] and free == [pytest.approx(0.125)]


@suppress_type_checks
def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="'kind' must be one of"):
        credit_rule("best", std="none", eps=0.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="'baseline' must be"):
        group_relative_advantages([1.0, 2.0], baseline="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "none"])
def test_baselines_by_hand(baseline: Any) -> None:
    expected = {"mean": (-2, 0, 2), "leave_one_out": (-3, 0, 3), "none": (1, 3, 5)}[baseline]
    found = group_relative_advantages([1.0, 3.0, 5.0], std="none", baseline=baseline)
    assert found.tolist() == list(expected)
    divided = group_relative_advantages([1.0, 3.0, 5.0], eps=0.0, baseline=baseline)
    assert divided == pytest.approx(np.array(expected) / np.sqrt(8 / 3))


def gradients(kind: Any, baseline: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The expected gradient over all pairs of walks, and the true one: of the expected return, by autodiff."""
    policy = walker(seed=3)
    game = Road()
    found = trajectories(game, policy)
    rule = credit_rule(kind, std="none", eps=0.0, baseline=baseline)
    scores = [
        policy.model.logprobs([c for _, c in trajectory.episode.completions("player")], sampling=policy.sampling)
        .logprobs_B_L.sum(-1)
        for trajectory in found
    ]  # fmt: skip
    probabilities = [score.sum().exp() for score in scores]
    assert sum(p.item() for p in probabilities) == pytest.approx(1)
    value = sum(
        p * trajectory.episode.episode_return("player")
        for p, trajectory in zip(probabilities, found, strict=True)
    )
    true = torch.autograd.grad(value, policy.model.logits, retain_graph=True)[0]
    surrogate = torch.zeros((), dtype=torch.float64)
    for pair in itertools.product(range(len(found)), repeat=2):
        group = EpisodeGroup(episodes=tuple(found[i].episode for i in pair))
        weight = (probabilities[pair[0]] * probabilities[pair[1]]).detach() / 2
        for i, advantages in zip(pair, rule(group, "player"), strict=True):
            surrogate = surrogate + weight * (torch.tensor(advantages) * scores[i]).sum()
    return torch.autograd.grad(surrogate, policy.model.logits)[0], true


@pytest.mark.parametrize("kind", ["episode", "reward_to_go"])
@pytest.mark.parametrize(
    ("baseline", "factor"), [("mean", 1 / 2), ("leave_one_out", 1), ("none", 1)]
)
def test_group_baselines_keep_the_gradient(kind: str, baseline: str, factor: float) -> None:
    """The group's mean gives (G - 1) / G of the true gradient, the others' mean all of it, for both rules."""
    expected, true = gradients(kind, baseline)
    assert float(true.norm()) > 0.01
    torch.testing.assert_close(expected, factor * true, rtol=1e-9, atol=1e-12)


def test_comparing_turn_by_turn_is_biased_where_the_policy_can_stop() -> None:
    """Negative control: among those that have an n-th turn alone, the gradient is no multiple of the true one."""
    expected, true = gradients("turn", "leave_one_out")
    cosine = float((expected * true).sum() / expected.norm() / true.norm())
    assert cosine < 0.999

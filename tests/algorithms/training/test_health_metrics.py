"""What is watched for a collapse: figures by hand and by other routes, and runs that are ill by construction."""

import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms import MSGRPOConfig, MSGRPOTrainer, group_relative_advantages
from algorithms.method.batch import RoleGroup
from algorithms.method.clip_range import ClipRange
from algorithms.method.episode_sampling import Selected
from algorithms.method.ratios import ScoredTokens
from algorithms.play.matchups import FixedOpponents, SelfPlay
from algorithms.training.health import health_warnings
from algorithms.training.health_metrics import RatioTail, reply_likelihoods, start_coverage
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TabularModel, WholeReplyParser
from proofs.estimators.start_weights import success_gains
from proofs.small_games import FiniteGame, tabular_policy
from tsmg import (
    Completion,
    Facts,
    Finite,
    PlayDefault,
    PlayerPolicy,
    Transition,
    UniformPlayer,
    deterministic,
)


def reply(*logprobs: float, given: int = 0) -> Completion:
    """A reply of these log-probabilities, the first tokens of which were given to the policy."""
    return Completion(
        prompt_ids=(0,),
        reply_ids=(7,) * len(logprobs),
        trainable=tuple(n >= given for n in range(len(logprobs))),
        logprobs=logprobs,
    )


def group(
    returns_G: tuple[float, ...], *, read: str = "", std: Any = "none", **fields: Any
) -> RoleGroup:
    """One reply an episode, with the group's own advantages."""
    advantages_G = tuple(group_relative_advantages(returns_G, std=std, eps=0.0).tolist())
    given = {
        "credits_G": tuple((a,) for a in advantages_G),
        "completions_G": ((reply(-1.0),),) * len(returns_G),
        "opening": (read,),
    }
    return RoleGroup(
        number=0,
        agent="player",
        returns_G=returns_G,
        advantages_G=advantages_G,
        **{**given, **fields},
    )


def every(*groups: RoleGroup) -> list[Selected]:
    """All episodes of the groups."""
    return [
        Selected(group=n, episode=e, weight=1.0)
        for n, role_group in enumerate(groups)
        for e in range(len(role_group.returns_G))
    ]


def test_likelihoods_by_hand() -> None:
    """Good: -1, -2 and -4 (one of two tokens was given); bad: -3 and -5; nothing of an advantage of 0."""
    found = group(
        (0.0,) * 3,
        credits_G=((1.0, 0.5), (-2.0, 0.0), ((0.5, -1.0),)),
        completions_G=(
            (reply(-1.0, -2.0), reply(-9.0, -4.0, given=1)),
            (reply(-3.0), reply(-7.0)),
            (reply(-1.0, -5.0),),
        ),
    )
    assert reply_likelihoods([found]) == {"good_logprob": -2.0, "bad_logprob": -4.0}
    assert reply_likelihoods([group((1.0, 1.0))]) == {"good_logprob": None, "bad_logprob": None}


def test_coverage_by_hand() -> None:
    """Of four, one success has advantages 3/4 and -1/4: 4 (3/4 + 1/4) = 4. So has two; a silent group has 0.

    Start 0 has two such groups, start 1 one: (8 + 4)^2 / (8^2 + 4^2) = 1.8.
    """
    one, two, none = (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (0.0,) * 4
    groups = [group(one), group(two), group(one, read="x"), group(none, read="y")]
    assert start_coverage(groups, every(*groups)) == {
        "distinct_starts": 3.0,
        "effective_starts": pytest.approx(1.8),
    }
    assert start_coverage(groups[3:], every(*groups[3:])) == {
        "distinct_starts": 1.0,
        "effective_starts": 0.0,
    }
    assert start_coverage([], []) == {"distinct_starts": 0.0, "effective_starts": 0.0}
    tokens: Any = (((0.5,), ()), ((-0.5,),))  # a reply without tokens has no advantages
    silent = group(
        (1.0, 0.0), credits_G=tokens, completions_G=((reply(-1.0), reply()), (reply(-1.0),))
    )
    assert start_coverage([silent], every(silent))["effective_starts"] == 1.0


def test_coverage_by_the_numbers_of_starts_and_by_their_weights() -> None:
    """Two groups that read the same, on two starts: kappas 4 and 4 count as two, weighed 3 to 1 as 1.6."""
    one = (1.0, 0.0, 0.0, 0.0)
    groups = [group(one, start=n, start_weight=w) for n, w in enumerate((3.0, 1.0))]
    found = [start_coverage(groups, every(*groups), corrected=c) for c in (False, True)]
    assert [f["effective_starts"] for f in found] == pytest.approx([2.0, 16 / 10])
    assert all(f["distinct_starts"] == 2 for f in found)
    apart = [groups[0], attrs.evolve(groups[0], agent="other")]
    assert start_coverage(apart, every(*apart))["distinct_starts"] == 2


@given(
    st.integers(3, 6).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1))),
    st.sampled_from(["none", "population", "sample"]),
    st.floats(-3, 3),
    st.floats(0.5, 4),
)
def test_a_group_counts_by_what_a_success_gains(
    case: tuple[int, int], std: str, shift: float, scale: float
) -> None:
    """Against one of kappa 1: G (c(1) - c(0)) by the coefficients of one success and one failure."""
    size, wins = case
    returns_G = tuple(shift + scale * (e < wins) for e in range(size))
    seen = group(returns_G, std=std, read="x")
    gain = size * (seen.advantages_G[0] - seen.advantages_G[-1]) / scale
    unit = (1.0, 0.0, 0.0)  # of three, 3 (2/3 + 1/3) = 3
    groups = [seen, group(unit)]
    expected = (gain + 3) ** 2 / (gain**2 + 9)
    assert start_coverage(groups, every(*groups))["effective_starts"] == pytest.approx(expected)
    turned = attrs.evolve(seen, returns_G=seen.returns_G[::-1], credits_G=seen.credits_G[::-1])
    again = start_coverage([turned, groups[1]], every(turned, groups[1]))
    assert again["effective_starts"] == pytest.approx(expected)


def test_the_gains_are_those_of_kappa() -> None:
    """Averaged over the company of one success, gains of leave-one-out are kappa's own: 1/G each."""
    config = MSGRPOConfig(group_size=4, sampling="all", std="none", baseline="leave_one_out")
    advantages = group_relative_advantages(
        (1.0, 0.0, 0.0, 0.0), std="none", baseline="leave_one_out"
    )
    assert success_gains(config)[0] == pytest.approx((advantages[0] - 0.0) / 4)


def scored(log_ratios: list[list[float]], advantages: list[float]) -> ScoredTokens:
    """Rows of tokens with these log-ratios; NaN is outside of the mask."""
    moved = torch.tensor(log_ratios, dtype=torch.float64)
    mask = ~moved.isnan()
    return ScoredTokens(
        logprobs_B_L=moved.nan_to_num() - 1.0,
        old_logprobs_B_L=torch.full_like(moved, -1.0),
        mask_B_L=mask,
        advantages_B_L=torch.tensor(advantages, dtype=torch.float64)[:, None].expand(moved.shape),
        episodes_B=torch.arange(len(moved)),
    )


def test_a_tail_by_hand() -> None:
    tail, rest = RatioTail(), RatioTail()
    tail.add(scored([[0.1, -0.3], [math.log(2), math.nan]], [1.0, 1.0]))
    rest.add(scored([[-0.4], [0.0]], [-2.0, 0.0]))
    for order in ([tail, rest], [rest, tail, RatioTail()]):
        found = RatioTail.total(order).metrics(ClipRange(low=0.3, high=0.28))
        assert found == pytest.approx(
            {
                "ratio_max": 2.0,
                "ratio_min": math.exp(-0.4),
                "ratio_p99": math.exp(0.4 + 0.96 * (math.log(2) - 0.4)),
                "ratio_outside_share": 2 / 5,  # 2 and 0.670; 0.741 is within
                "good_displacement": (0.1 - 0.3 + math.log(2)) / 3,
                "bad_displacement": -0.4,
            }
        )
    assert set(RatioTail().metrics(ClipRange()).values()) == {None}


@attrs.frozen(kw_only=True)
class Doors:
    """One step on one of so many starts, of which so many can be won, by "a"; a policy, and how it is trained.

    Attributes:
      first: the share of the first start.
    """

    starts: int
    winnable: int = 99
    first: float = 0.0
    likes_a: float = 0.0
    settings: dict[str, Any] = attrs.field(factory=dict)

    def trainer(self) -> MSGRPOTrainer:
        def pay(won: bool) -> Any:
            return deterministic(Transition("end", (float(won),)))

        others = (1 - self.first) / (self.starts - 1) if self.first else 1 / self.starts
        game = FiniteGame(
            starts=Finite(
                {0: 1 - (self.starts - 1) * others, **dict.fromkeys(range(1, self.starts), others)}
            ),
            moves={
                n: {("a",): pay(n < self.winnable), ("b",): pay(False)} for n in range(self.starts)
            },
            invalid_rule=PlayDefault(action="b"),
        )
        model = TabularModel(("a", "b"), capacity=self.starts + 1)
        with torch.no_grad():
            model.logits[:, 0] += self.likes_a
        policy = LanguageAgentPolicy(
            prompt=MemorylessPrompt(with_rules=False),
            model=model,
            parser=WholeReplyParser(),
            sampling=Sampling(max_reply_tokens=1),
        )
        common = {"updates": 11, "groups": 10, "group_size": 4, "kept_episodes": 4}
        config = MSGRPOConfig(
            **{**common, "max_reply_tokens": 1, "kl_coefficient": 0.0, "learning_rate": 0.1}
            | self.settings
        )
        return MSGRPOTrainer(game=game, policy=policy, config=config)


ILL = {
    "displaced": Doors(starts=1, likes_a=2.0, settings={"entropy_coefficient": 9.0}),
    "narrow": Doors(starts=60, winnable=1, first=0.4, settings={"groups": 24}),
    "tails": Doors(starts=40, settings={"epochs": 4, "learning_rate": 0.7, "schedule": "constant"}),
}


@pytest.mark.parametrize("name", ILL)
def test_a_run_that_is_ill_by_construction_is_told(name: str) -> None:
    metrics = ILL[name].trainer().train()
    told = {f.name for n in range(1, len(metrics) + 1) for f in health_warnings(metrics[:n])}
    assert name in told and told & set(ILL) == {name}


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_that_learns_is_well(epochs: int) -> None:
    metrics = Doors(starts=2, settings={"epochs": epochs}).trainer().train()
    assert (metrics[-1]["reward"] or 0) > (metrics[0]["reward"] or 0) + 0.2
    told = {f.name for n in range(1, len(metrics) + 1) for f in health_warnings(metrics[:n])}
    assert not told & set(ILL)
    assert (metrics[-1]["good_logprob"] or 0) > (metrics[0]["good_logprob"] or 0)
    assert ("ratio_p99" in metrics[0]) == (epochs > 1)


def test_displacements_are_those_of_the_weights_after_the_first_step() -> None:
    """The same replies, scored by the policy of a run of one epoch after its update."""
    once, twice = (
        Doors(starts=3, settings={"epochs": n, "sampling": "all"}).trainer() for n in (1, 2)
    )
    compared = once.player.play_until_enough(0, once.estimator)
    once.update()
    found = twice.update().metrics
    moved: dict[bool, list[float]] = {True: [], False: []}
    for role_group in compared.passed:
        for (advantage,), (completion,) in zip(
            role_group.credits_G, role_group.completions_G, strict=True
        ):
            score = once.policy.model.logprobs([completion], sampling=once.policy.sampling)
            assert isinstance(advantage, float)
            if advantage:
                moved[advantage > 0].append(
                    float(score.logprobs_B_L.detach().sum()) - math.fsum(completion.logprobs)
                )
    assert found["good_displacement"] == pytest.approx(np.mean(moved[True]), abs=1e-6)
    assert found["bad_displacement"] == pytest.approx(np.mean(moved[False]), abs=1e-6)
    assert (found["good_displacement"] or 0) > 0 > (found["bad_displacement"] or 0)


def test_the_starts_of_a_role_that_moves_second_are_not_what_the_first_did() -> None:
    """Two starts; the first mover says one of three words, which the second one reads. Both roles count two."""
    words = ("a", "b", "c")

    def paid(reply: str) -> Finite[Transition[Any]]:
        return deterministic(Transition("end", (0.0, float(reply == "a"))))

    first = {
        start: {(word,): deterministic(Transition((start, word), (0.0, 0.0))) for word in words}
        for start in "xy"
    }
    second = {(start, word): {(w,): paid(w) for w in words} for start in "xy" for word in words}
    game = FiniteGame(
        agents=("first", "second"),
        starts=Finite({"x": 0.5, "y": 0.5}),
        moves={**first, **second},
        acting={**dict.fromkeys(first, ("first",)), **dict.fromkeys(second, ("second",))},
        facts=Facts(perfect_information=True),
    )
    policy = tabular_policy(words, capacity=20)
    config = MSGRPOConfig(groups=24, group_size=2, sampling="all", max_reply_tokens=1)
    other = PlayerPolicy(game, UniformPlayer(game))
    for matchups, starts in ((FixedOpponents({"first": other}), 2.0), (SelfPlay(), 4.0)):
        trainer = MSGRPOTrainer(game=game, policy=policy, config=config, matchups=matchups)
        assert trainer.update().metrics["distinct_starts"] == starts

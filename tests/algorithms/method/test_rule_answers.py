"""What rules of a user's own return: arrays are taken, and what is no answer is refused in a sentence that names it."""

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import torch

import games
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.method.clip_range import ClipRange
from algorithms.method.estimator import Estimator
from algorithms.method.losses import policy_loss
from algorithms.method.ratios import RATIOS, Surrogate, TokenRatio
from lap import LanguageAgentPolicy, ModelError, Sampling, TabularModel, WholeReplyParser
from tests.algorithms.method.test_rules import estimator, roles
from tests.own_rules import softmax_draw
from tsmg import BranchPoint, Finite, InvalidArgumentError

GAME = games.make("LineWalk-v0", length=4, horizon=4)
CONFIG = MSGRPOConfig(
    updates=1, groups=2, group_size=4, kept_episodes=4, max_reply_tokens=1, sampling="all"
)


def trainer(
    ratio: Any = None, *, config: MSGRPOConfig = CONFIG, made: Estimator | None = None, **rules: Any
) -> MSGRPOTrainer:
    """A trainer on a corridor, whose replies are of one word."""
    policy = LanguageAgentPolicy(
        model=TabularModel(vocabulary=("left", "right")),
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=1),
    )
    made = made or Estimator.of(config, GAME.facts, **rules)
    return MSGRPOTrainer(game=GAME, policy=policy, config=config, estimator=made, ratio=ratio)


def completions(episode: Any) -> int:
    return len(list(episode.completions("walker")))


def credit_of(each: Callable[[float], Any]) -> Any:
    """Credit of its return less the group's mean for each completion, in some form."""

    def rule(group: Any, agent: str) -> list[list[Any]]:
        returns = np.array(group.returns_G(agent))
        pairs = zip(group.episodes, returns - returns.mean(), strict=True)
        return [[each(a)] * completions(episode) for episode, a in pairs]

    return rule


@pytest.mark.parametrize(
    "each",
    [np.float64, np.float32, lambda a: np.full(1, a), lambda a: [float(a)], np.array],
)
def test_rules_may_compute_with_arrays_in_the_trainer_too(each: Callable[[float], Any]) -> None:
    plain, arrays = (trainer(credit=credit_of(form)) for form in (float, each))
    assert arrays.update().metrics["loss"] == pytest.approx(
        plain.update().metrics["loss"], rel=1e-6
    )
    for one, other in zip(plain.learners[0].parameters, arrays.learners[0].parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_what_is_kept_of_arrays_are_numbers_and_tuples() -> None:
    whole = roles(estimator(credit=credit_of(np.float64)))[0].credits_G
    assert {type(a) for row in whole for a in row} == {float}
    tokens = roles(estimator(credit=credit_of(lambda a: np.full(1, a))))[0].credits_G
    assert {type(a) for row in tokens for a in row} == {tuple}
    changed = estimator(
        batch_rule=lambda groups: [[np.ones(len(row)) for row in g.credits_G] for g in groups]
    )
    (after,) = changed.over_batch(roles(changed))
    assert {type(a) for row in after.credits_G for a in row} == {float}


def of_batch(value: float) -> Any:
    return lambda groups: [[[value] * len(row) for row in g.credits_G] for g in groups]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"credit": lambda group, agent: None}, "an advantage for each .* \\(got None\\)"),
        (
            {"credit": lambda group, agent: [0.0] * 4},
            "an advantage .* \\(got \\[0.0, 0.0, 0.0, 0.0\\]",
        ),
        ({"credit": credit_of(lambda a: "x")}, "an advantage for each .* \\(got \\[\\['x'"),
        ({"credit": credit_of(lambda a: None)}, "1 finite number \\(got \\(nan,\\)"),
        ({"credit": credit_of(lambda a: math.inf)}, "1 finite number \\(got \\(-?inf,\\)"),
        ({"credit": credit_of(lambda a: np.zeros((1, 1)))}, "1 finite number"),
        ({"group_filter": lambda groups: None}, "True or False for each of 2 groups \\(got None"),
        ({"group_filter": lambda groups: True}, "True or False for each of 2 groups \\(got True"),
        ({"group_filter": lambda groups: [0.5, 7]}, "True or False .* \\(got \\(0.5, 7\\)"),
        ({"group_filter": lambda groups: [True]}, "True or False .* \\(got \\(True,\\)"),
        ({"batch_rule": lambda groups: None}, "advantages for 2 groups \\(got None"),
        ({"batch_rule": lambda groups: []}, "advantages for 2 groups \\(got 0"),
        ({"batch_rule": of_batch(math.nan)}, "1 finite number"),
        ({"sampling": lambda group: None}, "a distribution, such as tsmg.Finite, .* \\(got None"),
        ({"sampling": lambda group: [(0, 1.0)]}, "a distribution, such as tsmg.Finite"),
        ({"sampling": lambda group: Finite({(0,): 1.0})}, "draws of pairs of one of 4 episodes"),
        ({"sampling": lambda group: Finite({((0.5, 1.0),): 1.0})}, "draws of pairs .*0.5"),
        ({"sampling": lambda group: Finite({((0, math.inf),): 1.0})}, "draws of pairs .*inf"),
        ({"starts": lambda starts: None}, "1 finite number \\(got None"),
    ],
)
def test_what_is_no_answer_is_refused_in_one_sentence(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^the rule '.*' must return {message}"):
        trainer(**rules).update()


def test_a_filter_may_be_a_generator() -> None:
    made = estimator(group_filter=lambda groups: (g.number == 0 for g in groups))
    found = roles(made)
    assert made.passed([*found, attrs.evolve(found[0], number=1)]) == found


def test_an_error_inside_a_rule_is_its_own() -> None:
    def broken(group: Any, agent: str) -> Any:
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        trainer(credit=broken).update()


class Halves:
    """Two roots, and a branch of each where its first episode begins."""

    trained = True

    def __init__(self, roots: Any = 2, points: Any = None) -> None:
        self.count, self.points, self.seen = roots, points, 0

    def roots(self, group_size: int) -> Any:
        return self.count

    def __call__(self, group: Any, agents: Any, rng: Any, *, group_size: int) -> Any:
        every = [BranchPoint(episode=e, step=0) for e in range(len(group.episodes))]
        return every if self.points is None else self.points


@pytest.mark.parametrize(
    ("branching", "message"),
    [
        (Halves(0), "the rule 'Halves' must return a number of roots from 1 to 4 \\(got 0"),
        (Halves(2.0), "must return a number of roots from 1 to 4 \\(got 2.0"),
        (Halves(2, 3), "must return branch points at steps .* \\(got 3"),
        (Halves(2, [3]), "must return branch points at steps .* \\(got \\[3\\]"),
        (Halves(2, [BranchPoint(episode=9, step=0)] * 2), "branch points .*episode=9"),
        (Halves(2, []), "must make groups of 4 episodes, .* \\(got 2 roots and 0 branches"),
        (Halves(3), "must make groups of 4 episodes, .* \\(got 3 roots and 3 branches"),
    ],
)
def test_a_branching_of_ones_own_says_how_many_and_where(branching: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        trainer(branching=branching).update()
    trainer(branching=Halves()).update()


def test_a_branching_is_no_function() -> None:
    with pytest.raises(InvalidArgumentError, match="'branching' must be an object with 'trained'"):
        trainer(branching=lambda *given, **named: [])


class Remembers(Halves):
    """Counts the groups that it has met."""

    def observe(self, role_groups: Any) -> None:
        self.seen += len(role_groups)

    def state(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state(self, state: Any) -> None:
        self.seen = state["seen"]


def test_what_a_branching_remembers_is_saved() -> None:
    made = trainer(branching=Remembers())
    made.update()
    assert made.estimator.state() == {"branching": {"seen": 2}}


def surrogate_of(value: float) -> Any:
    """A ratio kind whose surrogates are multiples of the log-probabilities."""

    class Multiple:
        whole_episodes = False

        def __call__(self, tokens: Any, clip: Any) -> Surrogate:
            return Surrogate(
                values_B_L=tokens.logprobs_B_L * value,
                clipped_B_L=torch.zeros_like(tokens.mask_B_L),
            )

    return Multiple()


class Nothing:
    whole_episodes = False

    def __call__(self, tokens: Any, clip: Any) -> None:
        return None


class CountingRatio(Remembers):
    whole_episodes = False


@pytest.mark.parametrize(
    ("ratio", "error", "message"),
    [
        (Nothing(), InvalidArgumentError, "the rule 'Nothing' must return a Surrogate"),
        (
            lambda tokens, clip: None,
            InvalidArgumentError,
            "'ratio' must be a ratio kind, which has",
        ),
        (CountingRatio(), InvalidArgumentError, "'ratio' must have no state"),
        (surrogate_of(math.nan), ModelError, "is not finite; .* or another ratio kind, may help"),
    ],
)
def test_what_is_no_ratio_is_refused(ratio: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer(ratio).update()
    with pytest.raises(ModelError, match="a lower learning rate or a float32 model may help"):
        trainer(TokenRatio(), credit=credit_of(lambda a: 1e39)).update()


def ratio_of(make: Callable[[Any], Any], *, clipped: Any = None) -> Any:
    """A ratio kind whose surrogates are made by a function of the tokens."""

    class Made:
        whole_episodes = False

        def __call__(self, tokens: Any, clip: Any) -> Surrogate:
            mask = tokens.mask_B_L
            found = torch.zeros_like(mask) if clipped is None else clipped(tokens)
            return Surrogate(values_B_L=make(tokens), clipped_B_L=found)

    return Made()


def linear(tokens: Any) -> torch.Tensor:
    return tokens.logprobs_B_L * tokens.advantages_B_L


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (ratio_of(linear, clipped=lambda tokens: False), "'clipped_B_L' is a tensor \\(got bool"),
        (
            ratio_of(linear, clipped=lambda tokens: tokens.mask_B_L.numpy()),
            "'clipped_B_L' is a tensor \\(got ndarray",
        ),
        (
            ratio_of(linear, clipped=lambda tokens: torch.zeros(1).bool()),
            "'clipped_B_L' has shape \\(2, 3\\) \\(got \\(1,",
        ),
        (ratio_of(lambda tokens: None), "'values_B_L' is a tensor \\(got NoneType"),
        (
            ratio_of(lambda tokens: tokens.logprobs_B_L.detach().numpy()),
            "'values_B_L' is a tensor \\(got ndarray",
        ),
        (
            ratio_of(lambda tokens: linear(tokens).sum(-1)),
            "'values_B_L' has shape \\(2, 3\\) \\(got \\(2,\\)\\)",
        ),
        (
            ratio_of(lambda tokens: linear(tokens).sum(-1, keepdim=True)),
            "'values_B_L' has shape \\(2, 3\\) \\(got \\(2, 1\\)\\)",
        ),
        (
            ratio_of(lambda tokens: linear(tokens).detach()),
            "'values_B_L' have a gradient, .* \\(got values without one",
        ),
    ],
)
def test_what_is_no_surrogate_of_every_token_is_refused(ratio: Any, message: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=f"^the rule 'Made' must return a Surrogate whose {message}"
    ) as caught:
        loss_with(ratio)
    assert "\n" not in str(caught.value)


def loss_with(ratio: Any, *, advantage: float = 1.0, learns: bool = True) -> torch.Tensor:
    """The loss of two rows of three tokens, the last of which is not the policy's."""
    logprobs = torch.full((2, 3), -1.0, requires_grad=learns)
    return policy_loss(
        logprobs_B_L=logprobs,
        old_logprobs_B_L=logprobs.detach(),
        mask_B_L=torch.tensor([[True, True, False]] * 2),
        advantages_B_L=torch.full((2, 3), advantage),
        weights_B=torch.ones(2),
        clip=ClipRange(),
        ratio=ratio,
    ).loss


def test_no_clipping_is_not_said_by_none() -> None:
    class Unclipped:
        whole_episodes = False

        def __call__(self, tokens: Any, clip: Any) -> Surrogate:
            nothing: Any = None
            return Surrogate(values_B_L=linear(tokens), clipped_B_L=nothing)

    with pytest.raises(
        InvalidArgumentError, match=r"^the rule 'Unclipped' must .*'clipped_B_L' is a .*NoneType"
    ):
        trainer(Unclipped()).update()


def test_surrogates_need_a_gradient_only_where_one_is_asked_for() -> None:
    constant = ratio_of(lambda tokens: linear(tokens).detach())
    with torch.no_grad():
        assert loss_with(constant).item() == 4.0
    assert loss_with(constant, learns=False).item() == 4.0
    assert loss_with(constant, advantage=0.0).item() == 0.0  # nothing is to be learnt
    for ratio in (*RATIOS.values(), ratio_of(linear), ratio_of(lambda t: t.log_ratios_B_L.exp())):
        assert loss_with(ratio).requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 8, "kept_episodes": 8}, "has 'group_size' 8, and the settings say 4"),
        ({"std": "none"}, "'std' 'none', and the settings say 'population'"),
        ({"baseline": "none"}, "'baseline' 'none', and the settings say 'mean'"),
        ({"weighting": "token"}, "'weighting' 'token', and the settings say 'constant'"),
    ],
)
def test_an_estimator_of_other_settings_is_refused(changes: dict[str, Any], message: str) -> None:
    other = Estimator.of(attrs.evolve(CONFIG, **changes), GAME.facts, sampling=softmax_draw)
    with pytest.raises(InvalidArgumentError, match=message):
        trainer(made=other)
    trainer(made=Estimator.of(CONFIG, GAME.facts, sampling=softmax_draw))

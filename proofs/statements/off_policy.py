"""Importance weights, if groups are played by another policy than the one that learns."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np
import torch
from hypothesis import strategies as st

from algorithms import MSGRPOConfig
from algorithms.method.importance import ImportanceLevel, ImportanceRule
from lap import LanguageAgentPolicy, TabularModel
from proofs.estimators.off_policy import OffPolicy, perturbed, stepped
from proofs.estimators.off_policy_table import spelling_policy
from proofs.exact.enumeration import Trajectory
from proofs.exact.gradients import Array
from proofs.small_games import (
    WORDS,
    FiniteGame,
    choice_game,
    finite_games,
    random_policy,
    tabular_policy,
)
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, SEEDS, Case

_BY_WEIGHTS = "the trainer's rows and weights over all groups that the sampler plays"
_CAP = 1.5


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class Moved:
    """A game, the policy that learns, the noise by which the sampler differs from it, and the size of a group."""

    game: FiniteGame
    policy: LanguageAgentPolicy[TabularModel]
    noise: float = 0.5
    size: int = 2

    @cached_property
    def pair(self) -> OffPolicy:
        """The two policies on the game."""
        return OffPolicy.of(self.game, self.policy, perturbed(self.policy, self.noise, seed=1))

    def estimate_D(self, level: ImportanceLevel, **settings: Any) -> Array:
        """The expected estimate with weights without a cap at a level; baseline of the others. Shape (D,)."""
        rule = ImportanceRule(kind="truncated", level=level, cap=float("inf"))
        case = Case(game=self.game, policy=self.policy, size=self.size)
        config = case.config(**{"baseline": "leave_one_out", **settings})
        return self.pair.analyse(config, {"": rule})[""].mean_D


def _walk(game: FiniteGame, seed: int) -> Moved:
    return Moved(game=game, policy=random_policy(game, WORDS, seed=seed))


_TWO_STEPS = FiniteGame(
    starts=choice_game({"a": 0.0}).starts,
    moves={
        "choose": choice_game({"a": 0.0, "b": 1.0}, lengths={"a": 2}).moves["choose"],
        ("a", 1): choice_game({"a": 2.0, "b": -1.0}).moves["choose"],
    },
    horizon=2,
)
_STEPS = _walk(_TWO_STEPS, 5)
_MOVED = st.builds(_walk, finite_games(), SEEDS)
_SEVERAL = SEEDS.map(lambda seed: attrs.evolve(_walk(_TWO_STEPS, seed), size=3))


# ---- levels ------------------------------------------------------------------------------------


def _weights_of_tokens(case: Moved) -> Sides:
    """Each token is weighted by its own ratio alone."""
    return case.estimate_D("token"), case.pair.learner.autodiff_gradient_D()


@statement(
    routes=(_BY_WEIGHTS, BY_AUTODIFF),
    example=_STEPS,
    cases=_MOVED,
    sweep=40,
    wrong=_weights_of_tokens,
)
def episode_weights_restore_the_gradient(case: Moved) -> Sides:
    """With the ratio of whole episodes as weight, groups of another policy give the learner's gradient in the mean.

    The weight p(episode) / q(episode) turns a mean under the sampler's distribution into one under the learner's. The
    baseline then drops out: the others' returns are independent of the weighted score, whose mean is 0.

    Assumes: no cap, std none, the baseline of the others, every episode trained on, one agent whose sampler can say
    whatever the policy that learns may say. The game's own chance cancels in the ratio.
    Source: importance sampling; TIS of sequences in verl and TRL; for episodes reconstructed.

    Theory: Theorem 11.1, Equation 11.7.
    """
    return case.estimate_D("episode"), case.pair.learner.autodiff_gradient_D()


def _spelt(seed: int) -> Moved:
    """One step whose replies are two words long."""
    game = choice_game({"aa": 2.0, "ab": 0.0, "ba": -1.0, "bb": 1.0})
    return Moved(game=game, policy=spelling_policy(seed=seed))


@statement(
    routes=(_BY_WEIGHTS, BY_AUTODIFF),
    example=_spelt(0),
    cases=SEEDS.map(_spelt),
    sweep=40,
    wrong=_weights_of_tokens,
)
def step_weights_restore_the_gradient_of_one_step_games(case: Moved) -> Sides:
    """If an episode is one reply, the ratio of the reply is enough; those of its single tokens are not.

    A token's own ratio leaves out that the words before it were less or more likely to be said, and the words after it,
    on which the return depends.

    Assumes: as above, and one step an episode.
    Source: importance sampling; TIS of sequences in verl and TRL.
    """
    return case.estimate_D("step"), case.pair.learner.autodiff_gradient_D()


def _uneven(chances: Mapping[tuple[int, ...], float]) -> LanguageAgentPolicy[TabularModel]:
    """A policy that replies with two words, "a" with these probabilities after nothing, "a" and "b"."""
    policy = tabular_policy(("a", "b"), capacity=3, tokens=2)
    with torch.no_grad():
        for prefix, p in chances.items():
            row = policy.model.row("choose\n", prefix)
            policy.model.logits[row] = torch.tensor([p, 1 - p, 0.0]).double().log()
    return policy


_ONLY_AA = OffPolicy.of(
    choice_game({"aa": 1.0, "ab": 0.0, "ba": 0.0, "bb": 0.0}),
    _uneven({(): 1 / 2, (0,): 1 / 2, (1,): 1 / 2}),
    _uneven({(): 1 / 3, (0,): 3 / 4, (1,): 1 / 2}),
)


def _bare_estimates(pair: OffPolicy, level: ImportanceLevel) -> Array:
    """The expected estimates without a baseline: without weights, and with those of a level. Shape (2 D,)."""
    rule = ImportanceRule(kind="truncated", level=level, cap=float("inf"))
    config = MSGRPOConfig(
        groups=1, group_size=2, sampling="all", std="none", baseline="none", kl_coefficient=0.0
    )
    found = pair.analyse(config, {"none": None, "weighted": rule})
    return np.concatenate([found["none"].mean_D, found["weighted"].mean_D])


def _weights_of_replies(pair: OffPolicy) -> Sides:
    """Each reply is weighted by its own ratio, that of both of its words."""
    return _bare_estimates(pair, "step"), _ONLY_AA_BY_HAND


_ONLY_AA_BY_HAND = [1 / 8, -1 / 8, 0, 1 / 8, -1 / 8, 0, 0, 0, 0,
                    3 / 16, -3 / 16, 0, 1 / 12, -1 / 12, 0, 0, 0, 0]  # fmt: skip


@statement(
    routes=(_BY_WEIGHTS, "by hand"),
    example=_ONLY_AA,
    wrong=_weights_of_replies,
    shows=lambda both: bool(np.allclose(both[:9], _ONLY_AA.learner.gradient_D)),
)
def weights_of_tokens_can_bias_what_was_exact(pair: OffPolicy) -> Sides:
    """There is a sampler whose groups give the gradient without weights, and another direction with those of tokens.

    The reply "aa" pays 1, all others nothing; the learner says each word with 1/2, the sampler "a" with 1/3 and then
    "a" with 3/4. So both say "aa" with 1/4: without weights the estimate is 1/4 times the scores, 1/2 of each word.
    The words alone have the ratios 3/2 and 2/3.

    Assumes: no baseline.
    Source: reconstructed [ours].
    """
    return _bare_estimates(pair, "token"), _ONLY_AA_BY_HAND


# ---- one update older ---------------------------------------------------------------------------

_WIDTH = 1e-2  # of the differences by which a derivative is taken: five points, so that its fourth power counts


def _bias_D(case: Moved, step: float) -> Array:
    """The bias without weights where the learner has moved along the sampler's gradient by a step. Shape (D,)."""
    older = case.pair.learner  # it plays before the step
    moved = stepped(case.policy, step * older.gradient_D)
    found = OffPolicy.of(case.game, moved, case.policy).analyse(
        Case(game=case.game, policy=case.policy, size=case.size).config(baseline="leave_one_out"),
        {"": None},
    )[""]
    bias_D: Array = found.mean_D - found.gradient_D
    return bias_D


def _first_order_D(case: Moved, *, baseline: float) -> Array:
    """- E[(R - baseline) s s'] g over the sampler's trajectories, s the score of one. Shape (D,)."""
    dist = case.pair.learner
    scores_E_D = dist.counts_E_C("player") @ dist.scores_C_D
    weighted_E = dist.probabilities_E * (dist.returns_E("player") - baseline)
    return -(weighted_E * (scores_E_D @ dist.gradient_D)) @ scores_E_D


def _slope_D(case: Moved) -> Array:
    """The derivative of the bias in the size of the step, at 0. Shape (D,)."""
    near = _bias_D(case, _WIDTH) - _bias_D(case, -_WIDTH)
    far = _bias_D(case, 2 * _WIDTH) - _bias_D(case, -2 * _WIDTH)
    slope_D: Array = (8 * near - far) / (12 * _WIDTH)
    return slope_D


def _no_baseline_in_the_slope(case: Moved) -> Sides:
    """The returns stand in the bias as they are, without the mean that the others' returns take away."""
    return _slope_D(case), _first_order_D(case, baseline=0.0)


@statement(
    routes=("the derivative of the exact bias, by differences", "sums of scores by enumeration"),
    example=_STEPS,
    cases=_MOVED,
    sweep=6,
    wrong=_no_baseline_in_the_slope,
    tolerance=1e-7,
)
def one_update_off_biases_in_proportion_to_the_step(case: Moved) -> Sides:
    """Without weights, groups of the policy before a step c g have a bias of - c E[(R - V) s s'] g + O(c^2).

    R, s and V are the return, the score and the expected return of an episode of the policy before the step. The bias
    is what the estimate does not notice: that the learner has come to play some episodes more often. It is 0 where g
    is, and whole episodes' weights remove it for every step (the first statement).

    Assumes: g is the gradient before the step; std none, the baseline of the others, every episode trained on, one
    agent.
    Source: reconstructed [ours].

    Theory: Theorem 11.3, Equation 11.9.
    """
    return _slope_D(case), _first_order_D(
        case, baseline=case.pair.learner.expected_return("player")
    )


# ---- with a draw -------------------------------------------------------------------------------


def _draw_is_not_corrected(case: Moved) -> Sides:
    """Importance weights alone, without inclusion probabilities."""
    drawn = case.estimate_D("episode", sampling="aaw", kept_episodes=1)
    return drawn, case.pair.learner.autodiff_gradient_D()


@statement(
    routes=(_BY_WEIGHTS, BY_AUTODIFF),
    example=attrs.evolve(_STEPS, size=3),
    cases=_SEVERAL,
    sweep=15,
    wrong=_draw_is_not_corrected,
)
def importance_weights_and_inclusion_probabilities_multiply(case: Moved) -> Sides:
    """AAW's draw from groups of another policy: w over the inclusion probability gives the learner's gradient.

    Given the group, the mean over the draw of what is kept over its inclusion probability is the sum over the whole
    group, whatever the weights are; that sum's mean is the gradient.

    Assumes: as for whole episodes; the draw goes by the advantages, which know nothing of the weights.
    Source: reconstructed [ours]: Horvitz and Thompson's estimator over importance sampling.

    Theory: Theorem 11.2, Equation 11.8.
    """
    drawn = case.estimate_D("episode", sampling="aaw", kept_episodes=2, corrected=True)
    return drawn, case.pair.learner.autodiff_gradient_D()


# ---- the cap -----------------------------------------------------------------------------------


def _masked_in_place_of_truncated(case: Moved) -> Sides:
    """Weights beyond the cap are dropped."""
    return _mean_weight(case, "masked"), _what_the_cap_leaves(case)


@statement(
    routes=("the mean over the sampler's trajectories", "1 less the mean excess, by the learner's"),
    example=_STEPS,
    cases=_MOVED,
    sweep=40,
    wrong=_masked_in_place_of_truncated,
)
def a_cap_takes_the_mean_excess_from_the_mean_weight(case: Moved) -> Sides:
    """Truncated weights have the mean 1 - E_p[(1 - cap / w)+], which is at most 1: a cap shrinks, on average.

    Without a cap the mean weight is 1. With one, what is lost is the excess w - cap of the trajectories beyond
    it, which the policy that learns plays more often than the sampler by more than the cap.

    Assumes: weights of whole episodes.
    Source: Ionides, "Truncated importance sampling" (2008); reconstructed.

    Theory: Equation 11.6.
    """
    return _mean_weight(case, "truncated"), _what_the_cap_leaves(case)


def _mean_weight(case: Moved, kind: Any) -> float:
    weights_E = np.exp(case.pair.log_ratios_E)
    limited_E = ImportanceRule(kind=kind, level="episode", cap=_CAP).limited(weights_E)
    return float(case.pair.sampler.probabilities_E @ limited_E)


def _what_the_cap_leaves(case: Moved) -> float:
    """By the learner's own enumeration, whose ratios are those of the probabilities of its trajectories' replies."""
    lost = 0.0
    for mine, theirs in _pairs(case):
        ratio = float(mine.replies_N[0]) / float(theirs.replies_N[0])
        lost += float(mine.probability) * max(0.0, 1 - _CAP / ratio)
    return 1 - lost


def _weights_of_the_truncated(case: Moved) -> Sides:
    """Weights beyond the cap are cut to it, not dropped."""
    return _mean_weight(case, "truncated"), _within_the_cap(case)


@statement(
    routes=(
        "the mean over the sampler's trajectories",
        "the learner's probability of those within the cap",
    ),
    example=_STEPS,
    cases=_MOVED,
    sweep=40,
    wrong=_weights_of_the_truncated,
)
def a_mask_leaves_what_the_learner_plays_within_the_cap(case: Moved) -> Sides:
    """Masked weights have the mean P_p(1 / cap <= w <= cap): what the learner plays beyond the cap is not learnt from.

    For a weight w = p / q, the mean under q of w over the trajectories within the cap is p's probability of them.

    Assumes: weights of whole episodes.
    Source: MIS of sequences in TRL; reconstructed.

    Theory: Equation 11.6.
    """
    return _mean_weight(case, "masked"), _within_the_cap(case)


def _within_the_cap(case: Moved) -> float:
    """By the learner's own enumeration, whose ratios are those of the probabilities of its trajectories' replies."""
    kept = 0.0
    for mine, theirs in _pairs(case):
        ratio = float(mine.replies_N[0]) / float(theirs.replies_N[0])
        kept += float(mine.probability) * (1 / _CAP <= ratio <= _CAP)
    return kept


def _pairs(case: Moved) -> Iterator[tuple[Trajectory, Trajectory]]:
    """Each trajectory as the learner plays it and as the sampler does."""
    return zip(case.pair.learner.trajectories, case.pair.sampler.trajectories, strict=True)

"""The policy gradient as a sum of scores, unbiased credit, and the variance of the reward-to-go."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from lap import LanguageAgentPolicy, TabularModel
from proofs.exact.enumeration import trajectories
from proofs.exact.gradients import Array, central_differences
from proofs.small_games import WORDS, FiniteGame, finite_games, random_policy, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import episode_scores_E_D
from proofs.statements.cases import (
    BY_AUTODIFF,
    BY_ESTIMATOR,
    CARDS,
    SEEDS,
    Case,
    choice_case,
    random_cases,
)
from tsmg import Completion, Episode, EpisodeGroup, Finite, StandStill, Transition, deterministic

_ESTIMATOR = (BY_ESTIMATOR, BY_AUTODIFF)
_VARIANCES = (BY_ESTIMATOR, "a sum over single trajectories by hand")
_STEP = 1e-5
_TWO_STEPS_GAME = FiniteGame(
    starts=deterministic("x"),
    moves={
        "x": {
            ("a",): Finite({Transition("y", (1.0,)): 0.25, Transition("x", (0.0,)): 0.75}),
            ("b",): deterministic(Transition("y", (-1.0,))),
        },
        "y": {
            ("a",): deterministic(Transition("end", (2.0,))),
            ("b",): deterministic(Transition("end", (-1.0,))),
        },
    },
    discount=0.5,
    horizon=2,
    invalid_rule=StandStill(penalty=0.5),
)
_TWO_STEPS = Case(game=_TWO_STEPS_GAME, policy=random_policy(_TWO_STEPS_GAME, WORDS, seed=5))
_LENGTHS = choice_case(
    {"a": 1.0, "b": 0.0, "c": -1.0}, {"a": 0.5, "b": 0.3, "c": 0.2}, lengths={"a": 3, "b": 2}
)


# ---- scores ----------------------------------------------------------------------------------


def _summed_returns(case: Case) -> Sides:
    """In self-play, the gradient of the summed returns in the shared weights."""
    dist = case.dist
    summed_E = np.sum([dist.returns_E(agent) for agent in dist.learners], axis=0)
    scores_E_D = np.sum([episode_scores_E_D(dist, agent) for agent in dist.learners], axis=0)
    return (dist.probabilities_E * summed_E) @ scores_E_D, central_differences(dist)


@statement(
    routes=("the sum of scores", "central differences of the enumerated value"),
    example=CARDS,
    cases=st.one_of(random_cases(), random_cases(agents=2, horizon=1)),
    sweep=200,
    tolerance=1e-6,
    wrong=_summed_returns,
)
def the_policy_gradient_is_the_sum_of_returns_times_scores(case: Case) -> Sides:
    """The sum over trajectories of p times R_i times the score of agent i's replies, over all agents, is the gradient.

    The gradient is that of each agent's own expected return in its own replies' weights, the others' held fixed;
    with shared weights these partial gradients are added up.

    Assumes: the game's distributions do not depend on the weights.
    Source: a standard fact (REINFORCE: R. J. Williams, 1992); in self-play, reconstructed.

    Theory: Theorem 5.1, Definition 4.1, Equation 4.4.
    """
    dist = case.dist
    return dist.gradient_D, central_differences(dist)


def _two_tokens(game: FiniteGame, seed: int = 0) -> Case:
    """Replies of up to two tokens."""
    return Case(game=game, policy=random_policy(game, WORDS, seed=seed, tokens=2))


def _last_tokens_alone(case: Case) -> Sides:
    """Of each reply only the last token counts."""
    return _score_differences(case), _score_sums(case, last_tokens_alone=True)


@statement(
    routes=("central differences of every trajectory's log-probability", "token by token"),
    example=_two_tokens(_TWO_STEPS_GAME),
    cases=st.builds(_two_tokens, finite_games(states=1), SEEDS),
    sweep=10,
    tolerance=1e-7,
    wrong=_last_tokens_alone,
)
def the_score_of_an_episode_is_the_sum_over_its_tokens(case: Case) -> Sides:
    """The gradient of the log-probability of an episode's replies is the sum of those of its tokens.

    In a table, the score of a token is the unit vector of the token minus the distribution, in the row of its context.

    Assumes: the game's distributions do not depend on the weights.
    Source: arXiv:2508.10839 (the idea); reconstructed.

    Theory: Proposition 3.1, Equation 3.4.
    """
    return _score_differences(case), _score_sums(case, last_tokens_alone=False)


def _score_differences(case: Case) -> Array:
    """Central differences of the log-probability of the replies in every trajectory. Shape (E * D,)."""
    model = case.policy.model
    flat_D = model.logits.data.view(-1)

    def logs_E() -> Array:
        played = trajectories(case.game, case.policy)
        return np.log([math.prod(map(float, trajectory.replies_N)) for trajectory in played])

    columns = []
    for d in range(flat_D.numel()):
        kept = float(flat_D[d])
        flat_D[d] = kept + _STEP
        above_E = logs_E()
        flat_D[d] = kept - _STEP
        below_E = logs_E()
        flat_D[d] = kept
        columns.append((above_E - below_E) / (2 * _STEP))
    scores: Array = np.stack(columns, axis=-1).ravel()
    return scores


def _score_sums(case: Case, *, last_tokens_alone: bool) -> Array:
    """The sum over tokens, one by one. Shape (E * D,)."""
    rows = []
    for trajectory in trajectories(case.game, case.policy):
        total_D = np.zeros(case.policy.model.logits.numel())
        for agent in case.game.agents:
            for _, completion in trajectory.episode.completions(agent):
                tokens = _token_scores(case.policy, completion)
                total_D += tokens[-1] if last_tokens_alone else np.sum(tokens, axis=0)
        rows.append(total_D)
    return np.concatenate(rows)


def _token_scores(policy: LanguageAgentPolicy[TabularModel], completion: Completion) -> list[Array]:
    """The gradient of each token's log-probability, in closed form. Each of shape (D,)."""
    model = policy.model
    scores = []
    for place, token in enumerate(completion.reply_ids):
        row = model.row(completion.prompt_text, completion.reply_ids[:place])
        score_C_V = np.zeros(tuple(model.logits.shape))
        weights_V = np.exp(model.logits[row].numpy(force=True))
        score_C_V[row] = -weights_V / weights_V.sum()
        score_C_V[row, token] += 1.0
        scores.append(score_C_V.ravel())
    return scores


# ---- unbiased credit -------------------------------------------------------------------------

_SHORT = random_cases(states=1)


def _long_episodes_count_less(case: Case) -> Sides:
    """The weighting divides by the number of steps, where lengths differ."""
    return case.estimate_D(baseline="none", weighting="episode"), case.dist.autodiff_gradient_D()


@statement(
    routes=_ESTIMATOR,
    example=_LENGTHS,
    cases=_SHORT,
    wrong=_long_episodes_count_less,
)
def whole_episode_credit_without_a_baseline_is_unbiased(case: Case) -> Sides:
    """Every completion is credited with the whole return: the expected estimate is the true gradient.

    Assumes: constant weighting, no baseline, no std, on-policy. Source: a standard fact (R. J. Williams, 1992).

    Theory: Theorem 5.1, Equation 5.2.
    """
    dist = case.dist
    return case.estimate_D(baseline="none"), dist.autodiff_gradient_D()


def _rewards_from_the_step_on(case: Case) -> Sides:
    """The rewards from the step on are taken instead."""
    return _credited_D(case, after=True), np.zeros(case.policy.model.logits.numel())


@statement(
    routes=("a sum over trajectories, steps and completions", "zero"),
    example=_TWO_STEPS,
    cases=random_cases(),
    wrong=_rewards_from_the_step_on,
)
def rewards_before_a_step_contribute_nothing(case: Case) -> Sides:
    """The sum over steps t of the rewards before t times the score at t has expectation 0.

    The rewards before a step do not depend on the reply there, and the expectation of a score is 0.

    Assumes: penalties count at the step where they are paid. Source: a standard fact.

    Theory: Theorem 9.1, Equation 9.2.
    """
    return _credited_D(case, after=False), np.zeros(case.policy.model.logits.numel())


def _credited_D(case: Case, *, after: bool) -> Array:
    """The expectation of the sum over steps of score times discounted rewards before it, or from it on. Shape (D,)."""
    dist = case.dist
    total_D = np.zeros(dist.scores_C_D.shape[1])
    for p, trajectory in zip(dist.probabilities_E, dist.trajectories, strict=True):
        for agent in dist.learners:
            paid_T = _discounted_T(trajectory.episode, agent)
            for t, completion in trajectory.episode.completions(agent):
                credit = sum(paid_T[t:] if after else paid_T[:t])
                total_D += p * credit * dist.scores_C_D[dist.completion_number(agent, completion)]
    return total_D


def _discounted_T(episode: Episode[object], agent: str) -> list[float]:
    """gamma^t r_t, penalties included."""
    rewards_T = episode.rewards_T(agent)
    return [episode.discount**t * reward for t, reward in enumerate(rewards_T)]


def _discounted_from_the_step(case: Case) -> Sides:
    """The reward-to-go is discounted from the step itself, without the factor gamma^t."""
    return case.estimate_D(baseline="none", rule=_from_the_step), case.dist.autodiff_gradient_D()


@statement(
    routes=_ESTIMATOR,
    example=_TWO_STEPS,
    cases=_SHORT,
    wrong=_discounted_from_the_step,
)
def reward_to_go_has_the_mean_of_whole_episode_credit(case: Case) -> Sides:
    """Every completion is credited with sum_{t' >= t} gamma^t' r_t': the expected estimate is again the true gradient.

    Discounts count from the first step of the episode, as in the return itself.

    Assumes: constant weighting, no baseline, no std, on-policy. Source: a standard fact.

    Theory: Theorem 9.1.
    """
    return case.estimate_D(baseline="none", credit="reward_to_go"), case.dist.autodiff_gradient_D()


def _from_the_step(group: EpisodeGroup[object], agent: str) -> list[list[float]]:
    """sum_{t' >= t} gamma^(t' - t) r_t' for every completion."""
    return [
        [
            sum(_discounted_T(episode, agent)[t:]) / episode.discount**t
            for t, _ in episode.completions(agent)
        ]
        for episode in group.episodes
    ]


# ---- variance --------------------------------------------------------------------------------


def _two_choices(first: Sequence[float], second: Sequence[Sequence[float]]) -> Case:
    """Two steps of "a" or "b", each with probability 1/2; what the first pays, and after each what the second pays."""
    words = tuple(zip(WORDS, first, second, strict=True))
    game = FiniteGame(
        starts=deterministic("one"),
        moves={
            "one": {
                (word,): deterministic(Transition(f"after {word}", (r,))) for word, r, _ in words
            },
            **{
                f"after {word}": {
                    (reply,): deterministic(Transition("end", (r,)))
                    for reply, r in zip(WORDS, paid, strict=True)
                }
                for word, _, paid in words
            },
        },
    )
    even = dict.fromkeys(WORDS, 0.5)
    dists = dict.fromkeys(("one", "after a", "after b"), even)
    return Case(game=game, policy=tabular_policy(WORDS, dists=dists, capacity=3), size=2)


_SEPARATE = _two_choices((1.0, 0.0), ((1.0, 0.0), (1.0, 0.0)))
_CANCELLING = _two_choices((1.0, -1.0), ((-0.5, -1.0), (1.5, 1.0)))


def _of_one_episode(case: Case) -> Sides:
    """The variance of one episode in place of that of a mean of G."""
    return _variances(case), _by_hand(case, from_step=0)


@statement(
    routes=_VARIANCES,
    example=_SEPARATE,
    cases=_SHORT,
    shows=lambda gap: gap[0] < -0.1,
    wrong=_of_one_episode,
)
def reward_to_go_can_scatter_less_than_whole_episode_credit(case: Case) -> Sides:
    """Two steps with rewards of their own: whole returns carry the first step's noise into the second step's score.

    The trace of the covariance with reward-to-go, minus that with whole returns, is negative. The variance of the mean
    of G independent episodes is that of one over G.

    Assumes: constant weighting, no baseline, no std, on-policy. Source: measured here; a common remark.

    Theory: Equation 10.3.
    """
    return _variances(case), _by_hand(case, from_step=0) / case.size


def _after_the_step(case: Case) -> Sides:
    """The reward-to-go leaves out the reward of the step itself."""
    return _variances(case), _by_hand(case, from_step=1) / case.size


@statement(
    routes=_VARIANCES,
    example=_CANCELLING,
    shows=lambda gap: gap[0] > 0.1,
    wrong=_after_the_step,
)
def reward_to_go_can_scatter_more_than_whole_episode_credit(case: Case) -> Sides:
    """A late reward that cancels an early one: whole returns hardly vary, and the reward-to-go does.

    So "reward-to-go has the lower variance" is no theorem.

    Assumes: constant weighting, no baseline, no std, on-policy. Source: this library (measured).

    Theory: Equation 10.3.
    """
    return _variances(case), _by_hand(case, from_step=0) / case.size


def _variances(case: Case) -> Array:
    """Reward-to-go minus whole episodes, and the two themselves, by the laboratory. Shape (3,)."""
    to_go = case.analysis(baseline="none", credit="reward_to_go").variance
    whole = case.analysis(baseline="none").variance
    return np.array([to_go - whole, to_go, whole])


def _by_hand(case: Case, *, from_step: int) -> Array:
    """The same for one episode; the reward-to-go begins ``from_step`` steps after the reply. Shape (3,)."""
    policy = case.policy
    whole, to_go, weights = [], [], []
    for trajectory in trajectories(case.game, policy):
        paid_T = _discounted_T(trajectory.episode, "player")
        completions = [
            (t, np.sum(_token_scores(policy, completion), axis=0))
            for t, completion in trajectory.episode.completions("player")
        ]
        whole.append(sum(sum(paid_T) * score_D for _, score_D in completions))
        to_go.append(sum(sum(paid_T[t + from_step :]) * score_D for t, score_D in completions))
        weights.append(float(trajectory.probability))
    to_go_variance, whole_variance = _variance(to_go, weights), _variance(whole, weights)
    return np.array([to_go_variance - whole_variance, to_go_variance, whole_variance])


def _variance(vectors: Sequence[Array], weights: Sequence[float]) -> float:
    """The trace of the covariance."""
    mean_D = np.average(vectors, axis=0, weights=weights)
    squares_E = np.square(np.asarray(vectors) - mean_D).sum(axis=-1)
    return float(np.asarray(weights) @ squares_E)

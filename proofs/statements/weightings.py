"""Weightings of the loss and the expected gradient, where the length of an episode depends on the policy."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from algorithms.method.credit import CreditRule
from proofs.estimators.laboratory import EstimatorAnalysis
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import WORDS, FiniteGame, finite_games, random_policy
from proofs.statement import Sides, statement
from proofs.statements.by_hand import cosine, expected_estimate_D, first_over_second
from proofs.statements.cases import BY_ESTIMATOR, Case, choice_case, random_cases
from tsmg import EpisodeGroup, Transition, deterministic

# Policy (.6, .2, .2), returns (.5, .4, 1), lengths (1, 1, 20), groups of four.
_PROBABILITIES = (0.6, 0.2, 0.2)
_RETURNS = (0.5, 0.4, 1.0)
_LENGTHS = (1, 1, 20)
_LONG = choice_case(
    dict(zip("abc", _RETURNS, strict=True)),
    dict(zip("abc", _PROBABILITIES, strict=True)),
    lengths=dict(zip("abc", _LENGTHS, strict=True)),
    size=4,
)
_SHORT = choice_case(
    {"a": 1.0, "b": 0.5, "c": -1.0},
    {"a": 0.5, "b": 0.3, "c": 0.2},
    lengths={"a": 3, "c": 2},
    size=3,
)


def _lengths_E(dist: TrajectoryDistribution) -> Array:
    """T, the number of the agent's completions in each trajectory. Shape (E,)."""
    return np.array(
        [len(list(trajectory.episode.completions("player"))) for trajectory in dist.trajectories],
        dtype=float,
    )


def _tokens_E(dist: TrajectoryDistribution) -> Array:
    """The number of tokens of the agent's replies in each trajectory. Shape (E,)."""
    counts = [
        sum(len(completion.reply_ids) for _, completion in trajectory.episode.completions("player"))
        for trajectory in dist.trajectories
    ]
    return np.array(counts, dtype=float)


# ---- one over the length ---------------------------------------------------------------------


def _the_return_itself(case: Case) -> Sides:
    """The gradient of E[R]."""
    return case.estimate_D(weighting="episode", baseline="none"), case.dist.autodiff_gradient_D()


@statement(
    routes=(BY_ESTIMATOR, "automatic differentiation of E[R / Y]"),
    example=_SHORT,
    cases=random_cases(states=1),
    wrong=_the_return_itself,
)
def episode_weighting_is_after_the_return_per_step(case: Case) -> Sides:
    """Without a baseline, the weighting "episode" follows the gradient of E[R / Y], not of E[R].

    Y is the number of the agent's completions. Dividing each episode's terms by Y is the same as dividing its return
    by Y.

    Assumes: no baseline, no std, independent episodes. Source: reconstructed; the length bias that dividing by the
    length makes is in Dr. GRPO, arXiv:2503.20783.

    Theory: Theorem 7.1, Equation 7.2.
    """
    dist = case.dist
    return case.estimate_D(weighting="episode", baseline="none"), dist.expectation_gradient_D(
        "player", dist.returns_E("player") / _lengths_E(dist)
    )


def _only_the_return_per_step(case: Case) -> Sides:
    """The baseline is taken to cancel: the second term is left out."""
    dist = case.dist
    share = (case.size - 1) / case.size
    analysis = case.analysis(weighting="episode")
    per_step_D = dist.expectation_gradient_D("player", dist.returns_E("player") / _lengths_E(dist))
    return analysis.mean_D, share * per_step_D


@statement(
    routes=(BY_ESTIMATOR, "automatic differentiation of E[R / Y] and of E[1 / Y]"),
    example=_SHORT,
    cases=random_cases(states=1),
    wrong=_only_the_return_per_step,
)
def with_the_groups_mean_episode_weighting_also_shortens_or_lengthens(case: Case) -> Sides:
    """With the group's mean, "episode" follows (G - 1) / G (grad E[R / Y] - E[R] grad E[1 / Y]).

    The baseline is divided by the length of the episode too, so it does not cancel: if the mean return is positive, the
    second term makes episodes longer.

    Assumes: the group's mean, no std, independent episodes. Source: reconstructed.

    Theory: Theorem 7.1, Equation 7.3.
    """
    dist = case.dist
    lengths_E, returns_E = _lengths_E(dist), dist.returns_E("player")
    per_step_D = dist.expectation_gradient_D("player", returns_E / lengths_E)
    shorter_D = dist.expected_return("player") * dist.expectation_gradient_D(
        "player", 1 / lengths_E
    )
    share = (case.size - 1) / case.size
    return case.estimate_D(weighting="episode"), share * (per_step_D - shorter_D)


# ---- one over the size of the group ----------------------------------------------------------


def _over_total(
    dist: TrajectoryDistribution, sizes_E: Array
) -> Callable[[Sequence[int]], list[float]]:
    """Each member's return relative to the group's mean, over the sum of the members' sizes."""
    returns_E = dist.returns_E("player")

    def coefficients(members: Sequence[int]) -> list[float]:
        mean = sum(float(returns_E[e]) for e in members) / len(members)
        total = sum(float(sizes_E[e]) for e in members)
        return [(float(returns_E[e]) - mean) / total for e in members]

    return coefficients


def _groups_of_mean_length(case: Case) -> Sides:
    """Constant weighting, over the mean length: the denominator is replaced by its expectation."""
    dist = case.dist
    mean_length = float(dist.probabilities_E @ _lengths_E(dist))
    by_hand_D = expected_estimate_D(dist, case.size, _over_total(dist, _lengths_E(dist)))
    return case.estimate_D() / mean_length, by_hand_D


@statement(
    routes=(BY_ESTIMATOR, "every ordered group in plain arithmetic"),
    example=_SHORT,
    cases=random_cases(states=1),
    wrong=_groups_of_mean_length,
)
def step_weighting_divides_by_the_steps_of_the_group(case: Case) -> Sides:
    """The weighting "step" estimates the mean of sum_e A_e score_e over sum_e Y_e: a ratio of two random numbers.

    Assumes: the group's mean, no std, one group a batch. Source: reconstructed.

    Theory: Equation 7.4.
    """
    dist = case.dist
    return case.estimate_D(weighting="step"), expected_estimate_D(
        dist, case.size, _over_total(dist, _lengths_E(dist))
    )


def _talker(game: FiniteGame, seed: int, size: int = 2) -> Case:
    """Replies of one or two tokens."""
    return Case(game=game, policy=random_policy(game, WORDS, seed=seed, tokens=2), size=size)


_TALK = FiniteGame(
    starts=deterministic("speak"),
    moves={
        "speak": {
            ("a",): deterministic(Transition("end", (2.0,))),
            ("b",): deterministic(Transition("end", (1.0,))),
        }
    },
    horizon=1,
)


def _calls_for_tokens(case: Case) -> Sides:
    """Completions are counted in place of tokens."""
    dist = case.dist
    by_hand_D = expected_estimate_D(dist, case.size, _over_total(dist, _tokens_E(dist)))
    return case.estimate_D(weighting="step"), by_hand_D


@statement(
    routes=(BY_ESTIMATOR, "every ordered group in plain arithmetic"),
    example=_talker(_TALK, 1),
    cases=st.builds(_talker, finite_games(states=1, horizon=1), st.integers(0, 10_000)),
    wrong=_calls_for_tokens,
)
def token_weighting_divides_by_the_tokens_of_the_group(case: Case) -> Sides:
    """The weighting "token" estimates the mean of sum_e A_e score_e over the number of tokens in the group.

    So a reply that takes more words for the same action gives its whole group less weight.

    Assumes: the group's mean, no std, one group a batch, every token of a reply chosen by the policy.
    Source: reconstructed; the weighting is that of DAPO, arXiv:2503.14476, with the sum over one group.

    Theory: Equation 7.4.
    """
    dist = case.dist
    return case.estimate_D(weighting="token"), expected_estimate_D(
        dist, case.size, _over_total(dist, _tokens_E(dist))
    )


# ---- one game, six estimators ----------------------------------------------------------------


def _over_rows(group: EpisodeGroup[object], agent: str) -> list[list[float]]:
    """Returns relative to their mean over step rows, so that a long episode counts as often as it has steps."""
    lengths = [len(episode.steps) for episode in group.episodes]
    returns = group.returns_G(agent)
    mean = sum(t * r for t, r in zip(lengths, returns, strict=True)) / sum(lengths)
    return [[r - mean] * t for t, r in zip(lengths, returns, strict=True)]


def _over_episodes(group: EpisodeGroup[object], agent: str) -> list[list[float]]:
    """Returns relative to their mean over episodes."""
    returns = group.returns_G(agent)
    mean = sum(returns) / len(returns)
    pairs = zip(group.episodes, returns, strict=True)
    return [[r - mean] * len(episode.steps) for episode, r in pairs]


_WEIGHTINGS = ("constant", "episode", "step")
_SIX = [1.000, 0.825, 0.833, 0.991, 0.981, 0.694]


def _six_analyses(case: Case, rows: CreditRule) -> list[EstimatorAnalysis]:
    """Each weighting with the mean over episodes, then with that over rows."""
    return [
        case.analysis(weighting=weighting, rule=credit)
        for credit in (None, rows)
        for weighting in _WEIGHTINGS
    ]


def _estimates_of_three_choices(size: int) -> Mapping[tuple[str, str], Array]:
    """By baseline and weighting, the expected estimate in the three logits: every ordered group, by hand."""
    p, r, t = (np.array(x) for x in (_PROBABILITIES, _RETURNS, _LENGTHS))
    scores = np.eye(3) - p
    estimates = {k: np.zeros(3) for k in itertools.product(("episodes", "rows"), _WEIGHTINGS)}
    for members in itertools.product(range(3), repeat=size):
        g = list(members)
        baselines = {"episodes": r[g].mean(), "rows": (t[g] * r[g]).sum() / t[g].sum()}
        weights = {"constant": 1 / size, "episode": 1 / (size * t[g]), "step": 1 / t[g].sum()}
        for baseline, weighting in estimates:
            factors = weights[weighting] * (r[g] - baselines[baseline])
            estimates[baseline, weighting] += p[g].prod() * (factors[:, None] * scores[g]).sum(0)
    return estimates


def _truth_of_three_choices() -> Array:
    """The gradient of the expected return in the three logits: p_i (r_i - mean)."""
    p, r = np.array(_PROBABILITIES), np.array(_RETURNS)
    gradient: Array = p * (r - p @ r)
    return gradient


def _six_figures(side: Array) -> bool:
    """Whether the cosines round to the published ones."""
    return [round(float(x), 3) for x in side] == _SIX


def _episodes_for_rows(case: Case) -> Sides:
    """The mean over rows is replaced by that over episodes."""
    cosines = [analysis.cosine for analysis in _six_analyses(case, _over_episodes)]
    return cosines, weightings_and_baselines_turn_the_gradient.sides(case)[1]


@statement(
    routes=(BY_ESTIMATOR, "all 81 ordered groups in NumPy"),
    example=_LONG,
    shows=_six_figures,
    wrong=_episodes_for_rows,
)
def weightings_and_baselines_turn_the_gradient(case: Case) -> Sides:
    """Weightings and baselines that depend on lengths turn the expected estimate away from the gradient.

    Policy (0.6, 0.2, 0.2), returns (0.5, 0.4, 1), lengths (1, 1, 20), G = 4. The cosines with the true gradient are
    1.000 (constant), 0.825 (episode) and 0.833 (step) with the mean over episodes as baseline, and 0.991, 0.981 and
    0.694 with the mean over step rows.

    Assumes: no std. Source: reconstructed; six figures were first computed elsewhere (``docs/theory/laboratory.md``).
    """
    cosines = [analysis.cosine for analysis in _six_analyses(case, _over_rows)]
    truth = _truth_of_three_choices()
    estimates = _estimates_of_three_choices(case.size)
    return cosines, [cosine(estimate, truth) for estimate in estimates.values()]


_WRONG = 0  # the logit of the first action


def _opposite(side: Array) -> bool:
    """Whether estimate and truth have different signs."""
    return bool(side[0] * side[1] < 0)


def _plain(case: Case) -> Sides:
    """Constant weighting with the mean over episodes."""
    analysis = case.analysis()
    _, by_hand = a_mean_over_rows_with_step_weighting_can_have_a_wrong_sign.sides(case)
    return [float(analysis.mean_D[_WRONG]), float(analysis.dist.gradient_D[_WRONG])], by_hand


@statement(
    routes=(BY_ESTIMATOR, "all 81 ordered groups in NumPy"),
    example=_LONG,
    shows=_opposite,
    wrong=_plain,
)
def a_mean_over_rows_with_step_weighting_can_have_a_wrong_sign(case: Case) -> Sides:
    """Step weighting with a mean over step rows can make an action more likely that should become less likely.

    In the same game: the first action pays 0.5 where the policy earns 0.58 in the mean, so that its logit should fall.
    Both sides: that component of the estimate and of the truth.

    Assumes: no std. Source: reconstructed; see ``docs/theory/07_weighting.md``.
    """
    dist = case.dist
    analysis = case.analysis(weighting="step", rule=_over_rows)
    by_hand = _estimates_of_three_choices(case.size)["rows", "step"]
    return (
        [float(analysis.mean_D[_WRONG]), float(dist.gradient_D[_WRONG])],
        [float(by_hand[_WRONG]), float(_truth_of_three_choices()[_WRONG])],
    )


def _short_or_long(*, better: float, worse: float, length: int, size: int) -> Case:
    """Better returns in more steps, worse ones in one, and nothing in one, which is played most."""
    return choice_case(
        {"better": better, "worse": worse, "nothing": 0.0},
        {"better": 0.2, "worse": 0.2, "nothing": 0.6},
        lengths={"better": length},
        size=size,
    )


def _same_weight(case: Case) -> Sides:
    """Constant weighting."""
    analysis = case.analysis()
    _, by_hand = episode_weighting_can_prefer_the_worse_action.sides(case)
    truth = first_over_second(analysis.dist.gradient_D)
    return [first_over_second(analysis.mean_D), truth], by_hand


@statement(
    routes=("the trainer's estimator, score sum", "every ordered group, autodiff"),
    example=_short_or_long(better=1.0, worse=0.5, length=20, size=4),
    cases=st.builds(
        _short_or_long,
        better=st.sampled_from((0.7, 1.0)),
        worse=st.sampled_from((0.3, 0.5)),
        length=st.integers(1, 20),
        size=st.integers(2, 4),
    ),
    shows=_opposite,
    wrong=_same_weight,
)
def episode_weighting_can_prefer_the_worse_action(case: Case) -> Sides:
    """The weighting "episode" can prefer 0.5 in one step to 1 in twenty steps, even with the group's mean.

    A third action pays nothing and is played more often than not, so that both others are better than the mean; but
    what the better one gains is divided by 20. Both sides: estimate and truth, as the component of the better action
    minus that of the worse.

    Assumes: no std. Source: reconstructed.
    """
    dist = case.dist
    analysis = case.analysis(weighting="episode")
    returns_E, lengths_E = dist.returns_E("player"), _lengths_E(dist)

    def coefficients(members: Sequence[int]) -> list[float]:
        mean = sum(float(returns_E[e]) for e in members) / len(members)
        return [float((returns_E[e] - mean) / lengths_E[e]) / len(members) for e in members]

    by_hand_D = expected_estimate_D(dist, case.size, coefficients)
    return (
        [first_over_second(analysis.mean_D), first_over_second(dist.gradient_D)],
        [first_over_second(by_hand_D), first_over_second(dist.autodiff_gradient_D())],
    )

"""What credit per step does to the expected gradient, and what it leaves as it is."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import final

import attrs
import numpy as np

from proofs.estimators.laboratory import analyse_estimator
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import FiniteGame, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import Case, random_cases
from tsmg import Finite, Transition, deterministic


@final
@attrs.frozen(kw_only=True, eq=False)
class _Walk:
    """A line of play of one agent that calls its model once a step, in plain numbers.

    Attributes:
      probability: of the line.
      texts: what is read at each step.
      rewards: r_t, penalties included.
      discount: gamma.
      tokens: how many are said.
      scores_T_D: the gradient of the log-probability of each reply.
    """

    probability: float
    texts: tuple[str, ...]
    rewards: tuple[float, ...]
    discount: float
    tokens: int
    scores_T_D: Array

    def earned_from(self, t: int, *, since: int = 0) -> float:
        """What is earned from step t on, discounted from step ``since``; 0 where the walk is over."""
        later = range(t, len(self.rewards))
        return sum(self.discount ** (u - since) * self.rewards[u] for u in later)


_Group = Sequence[_Walk]
_Credit = Callable[[_Group], list[list[float]]]


def _walks(dist: TrajectoryDistribution) -> list[_Walk]:
    """The lines of play."""
    walks = []
    for trajectory, p in zip(dist.trajectories, dist.probabilities_E, strict=True):
        completions = [completion for _, completion in trajectory.episode.completions("player")]
        numbers = [dist.call_number("player", completion) for completion in completions]
        walks.append(
            _Walk(
                probability=float(p),
                texts=tuple(s.agent_steps[0].observation.text for s in trajectory.episode.steps),
                rewards=trajectory.episode.rewards_T("player"),
                discount=trajectory.episode.discount,
                tokens=sum(len(completion.reply_ids) for completion in completions),
                scores_T_D=dist.scores_C_D[numbers],
            )
        )
    return walks


def _groups(case: Case) -> Iterator[tuple[float, tuple[_Walk, ...]]]:
    """Every ordered group with its probability."""
    for group in itertools.product(_walks(case.dist), repeat=case.size):
        yield math.prod(walk.probability for walk in group), group


def _expected_D(case: Case, credit: _Credit) -> Array:
    """The expected mean over members of the sum over steps of credit times score. Shape (D,)."""
    total: Array = np.zeros(case.dist.scores_C_D.shape[1])
    for p, group in _groups(case):
        for walk, credit_T in zip(group, credit(group), strict=True):
            total += p / case.size * (np.array(credit_T) @ walk.scores_T_D)
    return total


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# ---- to go -----------------------------------------------------------------------------------

_ROAD_GAME = FiniteGame(
    starts=deterministic("gate"),
    moves={
        "gate": {
            ("stop",): deterministic(Transition("end", (1.0,))),
            ("go",): deterministic(Transition("hall", (0.0,))),
        },
        "hall": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("end", (3.0,))),
        },
    },
)
_ROAD = Case(
    game=_ROAD_GAME,
    policy=tabular_policy(
        ("stop", "go"),
        dists={"gate": {"stop": 0.8, "go": 0.2}, "hall": {"stop": 0.5, "go": 0.5}},
        capacity=2,
    ),
    size=3,
)
_BY_EXAMINATION = "the trainer's estimator over all groups"


def _who_is_still_there(case: Case) -> Sides:
    """A step is compared with the members alone that still play at it."""
    share = (case.size - 1) / case.size
    found = analyse_estimator(case.dist, case.config(credit="turn"))
    return found.mean_D, share * case.dist.autodiff_gradient_D()


@statement(
    routes=(_BY_EXAMINATION, "automatic differentiation of the value"),
    example=_ROAD,
    cases=random_cases(states=1),
    wrong=_who_is_still_there,
)
def rewards_to_go_keep_the_gradient(case: Case) -> Sides:
    """Credit for the reward-to-go, relative to the whole group's mean, gives (G - 1) / G of the true gradient.

    Members whose episode is over at a step earned 0 from there on, and are compared with. So the baseline of a member
    depends on nothing that it did, but for its own share.

    Assumes: constant weighting, no std, independent episodes. Source: the policy gradient theorem; reconstructed for
    groups.
    """
    dist = case.dist
    share = (case.size - 1) / case.size
    return analyse_estimator(
        dist, case.config(credit="reward_to_go")
    ).mean_D, share * dist.autodiff_gradient_D()


# ---- turn by turn ----------------------------------------------------------------------------


def _turn_credit(group: _Group) -> list[list[float]]:
    """From each step on, relative to the mean of the others that have this step; 0 where no other has."""

    def credit(e: int, t: int) -> float:
        others = [w for j, w in enumerate(group) if j != e and len(w.texts) > t]
        if not others:
            return 0.0
        return group[e].earned_from(t) - _mean([w.earned_from(t) for w in others])

    return [[credit(e, t) for t in range(len(walk.texts))] for e, walk in enumerate(group)]


def _cosine(one: Array, other: Array) -> float:
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def _turned(side: Array) -> bool:
    """Whether estimate and truth, the two halves, point in different directions."""
    estimate, truth = np.split(side, 2)
    return _cosine(estimate, truth) < 0.99


_BY_HAND = "every ordered group, with the rule written afresh"


def _whole_episodes(case: Case) -> Sides:
    """Whole episodes are compared."""
    dist = case.dist
    found = analyse_estimator(dist, case.config(credit="episode", baseline="leave_one_out"))
    _, by_hand = comparing_turn_by_turn_is_biased_where_the_policy_can_stop.sides(case)
    return np.concatenate([found.mean_D, dist.gradient_D]), by_hand


@statement(
    routes=(_BY_EXAMINATION, _BY_HAND),
    example=_ROAD,
    cases=random_cases(states=1),
    shows=_turned,
    wrong=_whole_episodes,
)
def comparing_turn_by_turn_is_biased_where_the_policy_can_stop(case: Case) -> Sides:
    """Compared with the members alone that have an n-th turn, the expected estimate is no multiple of the gradient.

    Whoever is alone at a turn learns nothing from it, so turns count less the fewer members reach them, and that is
    the policy's doing. Both sides: the expected estimate, then the true gradient. Measured: cosine 0.88 in the example.

    Assumes: constant weighting, the mean of the others, no std. Source: reconstructed.
    """
    dist = case.dist
    found = analyse_estimator(dist, case.config(credit="turn", baseline="leave_one_out"))
    by_hand_D = _expected_D(case, _turn_credit)
    return (
        np.concatenate([found.mean_D, dist.gradient_D]),
        np.concatenate([by_hand_D, dist.autodiff_gradient_D()]),
    )


def _all_turns_alike(case: Case) -> Sides:
    """Every turn has company, which makes it the true gradient."""
    found = analyse_estimator(case.dist, case.config(credit="turn", baseline="leave_one_out"))
    return found.mean_D, _by_turns(case, company=False)


@statement(
    routes=(_BY_EXAMINATION, "the sum over turns in closed form"),
    example=_ROAD,
    cases=random_cases(states=1),
    wrong=_all_turns_alike,
)
def turn_credit_weighs_a_turn_by_the_chance_of_company(case: Case) -> Sides:
    """Turn credit gives the n-th turn's part of the gradient times the chance that another member has one.

    With q the probability that an episode has an n-th turn, that is 1 - (1 - q)^(G - 1). There is no other bias: what
    the others earn from their n-th turns on does not depend on what one does at one's own.

    Assumes: constant weighting, the mean of the others, no std, independent episodes. Source: reconstructed.
    """
    found = analyse_estimator(case.dist, case.config(credit="turn", baseline="leave_one_out"))
    return found.mean_D, _by_turns(case, company=True)


def _by_turns(case: Case, *, company: bool) -> Array:
    """The sum over turns of their parts of the gradient, each times the probability that it has company."""
    walks = _walks(case.dist)
    total: Array = np.zeros(case.dist.scores_C_D.shape[1])
    for t in range(max(len(walk.texts) for walk in walks)):
        there = [walk for walk in walks if len(walk.texts) > t]
        q = sum(walk.probability for walk in there)
        factor = 1 - (1 - q) ** (case.size - 1) if company else 1.0
        for walk in there:
            total += factor * walk.probability * walk.earned_from(t) * walk.scores_T_D[t]
    return total


# ---- anchor states ---------------------------------------------------------------------------

_DOOR_GAME = FiniteGame(
    starts=Finite({"left": 0.5, "right": 0.5}),
    moves={
        "left": {
            ("stop",): deterministic(Transition("end", (1.0,))),
            ("go",): deterministic(Transition("door", (0.0,))),
        },
        "right": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("door", (0.5,))),
        },
        "door": {
            ("stop",): deterministic(Transition("end", (0.0,))),
            ("go",): deterministic(Transition("end", (3.0,))),
        },
    },
    discount=0.5,
)
_DOOR = Case(
    game=_DOOR_GAME,
    policy=tabular_policy(
        ("stop", "go"),
        dists={
            "left": {"stop": 0.5, "go": 0.5},
            "right": {"stop": 0.5, "go": 0.5},
            "door": {"stop": 0.5, "go": 0.5},
        },
        capacity=3,
    ),
    size=3,
)
_LOGITS = 3  # of two words and the end, in each state


def _anchor_credit(group: _Group, *, from_start: bool = False) -> list[list[float]]:
    """The return over the group's mean, plus what a step earned from there on over the mean of steps of equal text.

    A step whose text is read nowhere else in the group has the first part alone.
    """
    mean = _mean([walk.earned_from(0) for walk in group])

    def earned(walk: _Walk, t: int) -> float:
        return walk.earned_from(t, since=0 if from_start else t)

    def credit(walk: _Walk, t: int) -> float:
        alike = [
            earned(other, u)
            for other in group
            for u, text in enumerate(other.texts)
            if text == walk.texts[t]
        ]
        step = earned(walk, t) - _mean(alike) if len(alike) > 1 else 0.0
        return walk.earned_from(0) - mean + step

    return [[credit(walk, t) for t in range(len(walk.texts))] for walk in group]


def _turned_but_not_within_a_state(side: Array) -> bool:
    """Whether estimate and truth differ in direction, though not in the logits of any one state."""
    estimate, truth = np.split(side, 2)
    rows = zip(estimate.reshape(-1, _LOGITS), truth.reshape(-1, _LOGITS), strict=True)
    return _turned(side) and all(_cosine(one, other) > 1 - 1e-9 for one, other in rows)


def _discounted_from_the_start(case: Case) -> Sides:
    """What a step earned is discounted from the first step of the episode."""
    right, _ = anchor_states_weigh_states_by_how_often_they_are_shared.sides(case)
    by_hand_D = _expected_D(case, lambda group: _anchor_credit(group, from_start=True))
    return right, np.concatenate([by_hand_D, case.dist.autodiff_gradient_D()])


@statement(
    routes=(_BY_EXAMINATION, _BY_HAND),
    example=_DOOR,
    cases=random_cases(states=1),
    sweep=15,
    shows=_turned_but_not_within_a_state,
    wrong=_discounted_from_the_start,
)
def anchor_states_weigh_states_by_how_often_they_are_shared(case: Case) -> Sides:
    """Anchor-state credit points along the gradient in each state apart, but not as a whole.

    A step's part is relative to the steps of the group that read the same text, so a state that several members reach
    counts more than one that few do; and what is earned is discounted from the step itself. Both sides: the expected
    estimate, then the true gradient. Measured: cosine 0.988 in the example, and 1 within each of its three states,
    which no episode visits twice: the estimate is 1.08, 1.08 and 1.5 times the gradient there.

    Assumes: constant weighting, the mean, no std. Source: GiGPO, arXiv:2505.10978, with a step's weight of 1 and no
    std; the bias is reconstructed.
    """
    dist = case.dist
    found = analyse_estimator(dist, case.config(credit="anchor_state"))
    by_hand_D = _expected_D(case, _anchor_credit)
    return (
        np.concatenate([found.mean_D, dist.gradient_D]),
        np.concatenate([by_hand_D, dist.autodiff_gradient_D()]),
    )


# ---- a text that recurs ----------------------------------------------------------------------

_LOOP_GAME = FiniteGame(
    starts=deterministic("first"),
    moves={
        "first": {
            ("go",): deterministic(Transition("second", (2.0,))),
            ("stop",): deterministic(Transition("end", (3.0,))),
        },
        "second": {
            ("go",): deterministic(Transition("end", (-1.0,))),
            ("stop",): deterministic(Transition("end", (3.0,))),
        },
    },
    texts={"first": "on?", "second": "on?"},
)
_LOOP = Case(
    game=_LOOP_GAME,
    policy=tabular_policy(("go", "stop"), dists={"on?": {"go": 0.3, "stop": 0.7}}, capacity=1),
)


def _both_reversed(side: Array) -> bool:
    """Whether both estimates grow what should fall."""
    return bool(side[0] > 0.01 and side[1] > 0.01 and side[2] < -0.01)


def _whole_episodes_again(case: Case) -> Sides:
    """Whole episodes are compared, in both places."""
    dist = case.dist
    turns = analyse_estimator(dist, case.config(baseline="leave_one_out"))
    anchors = analyse_estimator(dist, case.config())
    _, by_hand = where_a_text_recurs_turns_and_anchors_can_reverse_the_gradient.sides(case)
    return _first(turns.mean_D, anchors.mean_D, dist.gradient_D), by_hand


@statement(
    routes=(_BY_EXAMINATION, _BY_HAND),
    example=_LOOP,
    shows=_both_reversed,
    wrong=_whole_episodes_again,
)
def where_a_text_recurs_turns_and_anchors_can_reverse_the_gradient(case: Case) -> Sides:
    """Where an episode can read the same text twice, both comparisons of steps can prefer the worse action.

    The policy goes on with probability 0.3 at either of two steps that read alike, and would earn more if it stopped
    more often. Both sides: the component of "go" in the estimate by turns, in that by anchor states, and in the truth.

    Assumes: constant weighting, no std, the mean of the others (turns) or of all (anchor states), G = 2.
    Source: reconstructed; found by a search over small games.
    """
    dist = case.dist
    turns = analyse_estimator(dist, case.config(credit="turn", baseline="leave_one_out"))
    anchors = analyse_estimator(dist, case.config(credit="anchor_state"))
    return (
        _first(turns.mean_D, anchors.mean_D, dist.gradient_D),
        _first(
            _expected_D(case, _turn_credit),
            _expected_D(case, _anchor_credit),
            dist.autodiff_gradient_D(),
        ),
    )


def _first(*vectors: Array) -> list[float]:
    """The first component of each."""
    return [float(vector_D[0]) for vector_D in vectors]


# ---- which episodes are drawn ----------------------------------------------------------------


def _to_go_credit(group: _Group) -> list[list[float]]:
    """From each step on, relative to the mean of all members, those that are over included."""
    longest = max(len(walk.texts) for walk in group)
    means = [_mean([walk.earned_from(t) for walk in group]) for t in range(longest)]
    return [[w.earned_from(t) - means[t] for t in range(len(w.texts))] for w in group]


def _drawn_one(case: Case, sizes: Callable[[_Group], Sequence[float]]) -> Array:
    """Expected trained tokens and expected estimate, when one member is drawn in proportion to its size."""
    total: Array = np.zeros(1 + case.dist.scores_C_D.shape[1])
    for p, group in _groups(case):
        sizes_G = [size if size > 1e-9 else 0.0 for size in sizes(group)]
        for walk, credit_T, size in zip(group, _to_go_credit(group), sizes_G, strict=True):
            if size:
                drawn = p * size / sum(sizes_G)
                total[0] += drawn * walk.tokens
                total[1:] += drawn * (np.array(credit_T) @ walk.scores_T_D)
    return total


def _whole_advantages(group: _Group) -> list[float]:
    """|A_e|: of the whole episode's return, relative to the mean."""
    mean = _mean([walk.earned_from(0) for walk in group])
    return [abs(walk.earned_from(0) - mean) for walk in group]


def _sums_of_credit(group: _Group) -> list[float]:
    """The sum over steps of |A_{e,t}|."""
    return [sum(map(abs, credit_T)) for credit_T in _to_go_credit(group)]


def _drawn_by_credit(case: Case) -> Sides:
    """Episodes are drawn by the sum of their steps' absolute credit."""
    right, _ = credit_per_step_leaves_the_draw_to_whole_episodes.sides(case)
    return right, _drawn_one(case, _sums_of_credit)


@statement(
    routes=(_BY_EXAMINATION, "every ordered group, with p = |A| / sum |A|"),
    example=_ROAD,
    cases=random_cases(states=1),
    sweep=15,
    wrong=_drawn_by_credit,
)
def credit_per_step_leaves_the_draw_to_whole_episodes(case: Case) -> Sides:
    """With credit per step, episodes are still drawn in proportion to the absolute advantage of the whole episode.

    Sides: how many tokens are trained on in the mean, and the expected estimate, when one member of a group is drawn.

    Assumes: alpha 1, K = 1, no std. Source: reconstructed (the design, section 1.4).
    """
    found = analyse_estimator(
        case.dist, case.config(credit="reward_to_go", sampling="aaw", kept_episodes=1, alpha=1.0)
    )
    return np.array([found.trained_tokens, *found.mean_D]), _drawn_one(case, _whole_advantages)

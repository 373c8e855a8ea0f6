"""Credit on two levels: what its three values and two lambdas do to the gradient, and what it says of kept subgoals."""

import functools
import itertools
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from algorithms.method.advantages import token_advantages
from algorithms.method.batch import rewards_to_go
from algorithms.method.subgoal_credit import SubgoalCredit
from algorithms.method.subgoal_replies import PARTS, Part, read_replies
from algorithms.method.value_functions import TableCritic
from algorithms.play.after_episodes import read_at_end
from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, SubgoalParser, TabularModel
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import FiniteGame
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_AUTODIFF, SEEDS
from tsmg import EpisodeGroup, Finite, Transition, deterministic

_BY_RULE: Final = "the credit rule over all trajectories"
_GOALS: Final = ("x", "y")
_WORDS: Final = (
    *("<switch>KEEP</switch>", "<switch>SWITCH</switch>"),
    *(f"<subgoal>{goal}</subgoal>" for goal in _GOALS),
    *("<action>a</action>", "<action>b</action>"),
)
_KEEP: Final = (0,)
_SWITCH: Final = (1,)
_FIRST: Final = "None"
_PREFIXES: Final = ((), *itertools.product((0, 1)), *itertools.product((0, 1), (2, 3)))
# where a new subgoal is the first one, so that trajectories are fewer
_FEWER: Final = ("low", "high")

Values = Mapping[Part, Mapping[str, float]]


def _paid(state: str, reward: float) -> Finite[Transition[str]]:
    return deterministic(Transition(state, (reward,)))


# Three steps that texts tell apart.
_GAME = FiniteGame(
    starts=deterministic("start"),
    moves={
        "start": {
            ("a",): _paid("left", 0.5),
            ("b",): _paid("right", 0.0),
        },
        "left": {("a",): _paid("low", 2.0), ("b",): _paid("high", -1.0)},
        "right": {("a",): _paid("high", 0.0), ("b",): _paid("end", 1.0)},
        "low": {("a",): _paid("end", 4.0)},
        "high": {("a",): _paid("end", -4.0), ("b",): _paid("end", 6.0)},
    },
    discount=0.5,
)


@functools.lru_cache(maxsize=4)
def _played(seed: int, *, copies: bool = False) -> TrajectoryDistribution:
    """The trajectories of random weights, whose replies are three tokens: a switch, a subgoal and an action.

    Args:
      seed: of the weights.
      copies: whether a subgoal that is kept is copied; otherwise any is written.
    """
    model = TabularModel(_WORDS, capacity=len(_PREFIXES) * len(_GAME.moves) * (1 + len(_GOALS)))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(tuple(model.logits.shape), generator=generator, dtype=torch.float64)
    logits = torch.full_like(drawn, -torch.inf)
    for state, goal in itertools.product(_GAME.moves, (_FIRST, *_GOALS)):
        prompt = f"{state}\nYour current subgoal: {goal}\n"
        for prefix in _PREFIXES:
            words = [2 * len(prefix), 2 * len(prefix) + 1]
            if prefix == _KEEP and goal != _FIRST and copies:
                words = [2 + _GOALS.index(goal)]
            elif (prefix == _SWITCH and state in _FEWER) or (state == "low" and len(prefix) == 2):
                words = words[:1]
            row = model.row(prompt, prefix)
            logits[row, words] = drawn[row, words]
    with torch.no_grad():
        model.logits.copy_(logits)
    policy = LanguageAgentPolicy(
        model=model,
        prompt=MemorylessPrompt(with_rules=False),
        parser=SubgoalParser(),
        sampling=Sampling(max_reply_tokens=3),
    )
    return TrajectoryDistribution.of(_GAME, policy)


def _true_values(dist: TrajectoryDistribution) -> Values:
    """The mean return from each place on before which a part is said; of subgoals where a segment begins."""
    sums: dict[Part, dict[str, Array]] = {part: {} for part in PARTS}
    spell = dist.learner("player").model.text
    for trajectory, p in zip(dist.trajectories, dist.probabilities_E.tolist(), strict=True):
        to_go = rewards_to_go(trajectory.episode, "player")
        completions = [c for _, c in trajectory.episode.completions("player")]
        for t, reply in enumerate(read_replies(completions, spell)):
            for part in reply.valued:
                text = reply.place(part).text
                sums[part].setdefault(text, np.zeros(2))[:] += (p * to_go[t], p)
    return {
        part: {text: float(total / p) for text, (total, p) in found.items()}
        for part, found in sums.items()
    }


def _drawn_values(true: Values) -> Values:
    """Values that have nothing to do with the game."""
    rng = np.random.default_rng(0)
    return {part: {text: rng.normal() for text in known} for part, known in true.items()}


def _estimate_D(
    dist: TrajectoryDistribution, values: Values, turn_lambda: float, segment_lambda: float
) -> Array:
    """The mean estimate of the credit rule with critics of these values. Shape (D,)."""
    rule = SubgoalCredit(TableCritic, turn_lambda=turn_lambda, segment_lambda=segment_lambda)
    rule.bind(read_at_end(dist.game, {"player": dist.learner("player")}))
    rule.load_state({"player": {p: {"known": values[p], "mean": 0.0} for p in PARTS}})
    weights_K = np.zeros(len(dist.token_scores_K_D))
    for trajectory, p in zip(dist.trajectories, dist.probabilities_E.tolist(), strict=True):
        (credits_T,) = rule(EpisodeGroup(episodes=(trajectory.episode,)), "player")
        own = trajectory.episode.completions("player")
        for (_, completion), credit in zip(own, credits_T, strict=True):
            rows = dist.token_numbers[dist.completion_number("player", completion)]
            weights_K[rows.start : rows.stop] += p * np.array(token_advantages(credit, len(rows)))
    return weights_K @ dist.token_scores_K_D


def _rows_D(dist: TrajectoryDistribution, *, subgoals_alone: bool = False) -> Array:
    """1 at the weights of tokens that have an advantage, or of subgoals among them; 0 elsewhere. Shape (D,)."""
    model = dist.learner("player").model
    rows_C_V = np.zeros(tuple(model.logits.shape))
    for row, (prompt, prefix) in enumerate(model.contexts):
        begins = prefix[:1] != _KEEP or prompt.endswith(f": {_FIRST}\n")
        is_subgoal = len(prefix) == 1
        rows_C_V[row] = is_subgoal and begins if subgoals_alone else begins or not is_subgoal
    return rows_C_V.flatten()


_LAMBDAS: Final = ((0.0, 0.0), (0.5, 1.0), (1.0, 0.5))


def _over_lambdas(dist: TrajectoryDistribution, values: Values) -> Array:
    return np.concatenate([_estimate_D(dist, values, *lambdas) for lambdas in _LAMBDAS])


def _value_of_every_reply(seed: int) -> Sides:
    """The value of a subgoal is that of the prompt, whether the reply switches or not."""
    dist = _played(seed)
    true = _true_values(dist)
    found = _over_lambdas(dist, {**true, "subgoal": true["switch"]})
    return found, np.tile(dist.autodiff_gradient_D() * _rows_D(dist), len(_LAMBDAS))


@statement(
    routes=(_BY_RULE, BY_AUTODIFF),
    example=1,
    cases=SEEDS,
    sweep=2,
    wrong=_value_of_every_reply,
)
def with_the_true_values_each_part_of_a_reply_has_its_share_of_the_gradient(seed: int) -> Sides:
    """With three true values, switches, actions and new subgoals have their part of the gradient at any two lambdas.

    A subgoal that is written in a reply that keeps it has no advantage, so its part is missing.

    Assumes: what is read tells the state; replies of the three parts; constant weighting, no whitening.
    Source: HiPER, arXiv:2602.16165, by its public code; the claim is reconstructed.
    """
    dist = _played(seed)
    found = _over_lambdas(dist, _true_values(dist))
    return found, np.tile(dist.autodiff_gradient_D() * _rows_D(dist), len(_LAMBDAS))


def _kept_subgoals_are_written_anew(seed: int) -> Sides:
    """A reply that keeps the subgoal writes any, which later prompts then show."""
    dist = _played(seed)
    return _estimate_D(dist, _true_values(dist), 1.0, 0.95), dist.autodiff_gradient_D()


@statement(
    routes=(_BY_RULE, BY_AUTODIFF),
    example=1,
    cases=SEEDS,
    sweep=2,
    wrong=_kept_subgoals_are_written_anew,
)
def where_kept_subgoals_are_copied_the_estimate_is_the_gradient(seed: int) -> Sides:
    """Where a subgoal that is kept is copied, true values give the whole gradient.

    Assumes: as for the parts of replies. Source: HiPER, arXiv:2602.16165, by its public code; reconstructed.
    """
    dist = _played(seed, copies=True)
    return _estimate_D(dist, _true_values(dist), 1.0, 0.95), dist.autodiff_gradient_D()


def _no_value_is_true(seed: int) -> Sides:
    """The value of subgoals is wrong as well."""
    dist = _played(seed)
    found = _estimate_D(dist, _drawn_values(_true_values(dist)), 1.0, 0.5)
    _, right = at_lambda_1_the_value_of_subgoals_alone_must_be_true.sides(seed)
    return np.concatenate([found, np.asarray(right)[len(found) :]]), right


@statement(
    routes=(_BY_RULE, BY_AUTODIFF),
    example=1,
    cases=SEEDS,
    sweep=2,
    wrong=_no_value_is_true,
)
def at_lambda_1_the_value_of_subgoals_alone_must_be_true(seed: int) -> Sides:
    """At lambda 1 within segments, wrong values of switches and actions leave all parts, if those of subgoals are true.

    If they are wrong as well, lambda 1 over segments still leaves the part of new subgoals.

    Assumes: as for the parts of replies. Source: HiPER, arXiv:2602.16165, by its public code; reconstructed.
    """
    dist = _played(seed)
    true = _true_values(dist)
    drawn = _drawn_values(true)
    subgoals_D = _rows_D(dist, subgoals_alone=True)
    truth_D = dist.autodiff_gradient_D()
    found_D = _estimate_D(dist, {**drawn, "subgoal": true["subgoal"]}, 1.0, 0.5)
    of_subgoals_D = _estimate_D(dist, drawn, 0.5, 1.0) * subgoals_D
    left = np.concatenate([found_D, of_subgoals_D])
    return left, np.concatenate([truth_D * _rows_D(dist), truth_D * subgoals_D])

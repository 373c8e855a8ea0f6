"""Replies whose beginning is given to the model: given tokens are not actions of the policy."""

import numpy as np
import torch
from hypothesis import strategies as st

from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TabularModel, TagParser
from proofs.exact.enumeration import trajectories
from proofs.exact.gradients import Array, central_differences
from proofs.small_games import FiniteGame, finite_games
from proofs.statement import Sides, statement
from proofs.statements.cases import SEEDS, Case
from tsmg import Completion, Finite, Transition, deterministic

_WORDS = ("<action>", "a</action>", "b</action>")
_GAME = FiniteGame(
    starts=deterministic("x"),
    moves={
        "x": {
            ("a",): Finite({Transition("y", (1.0,)): 0.25, Transition("end", (0.0,)): 0.75}),
            ("b",): deterministic(Transition("y", (-1.0,))),
        },
        "y": {
            ("a",): deterministic(Transition("end", (2.0,))),
            ("b",): deterministic(Transition("end", (-1.0,))),
        },
    },
    horizon=2,
)


def _begun(game: FiniteGame, seed: int = 0) -> Case:
    """A policy of random weights whose replies begin with the given opening tag; one token of each is sampled."""

    def policy(capacity: int) -> LanguageAgentPolicy[TabularModel]:
        return LanguageAgentPolicy(
            model=TabularModel(_WORDS, capacity=capacity),
            prompt=MemorylessPrompt(with_rules=False),
            parser=TagParser(),
            sampling=Sampling(max_reply_tokens=1),
            prefill="<action>",
        )

    uniform = policy(1000)
    trajectories(game, uniform)
    made = policy(2 * len(uniform.model.contexts))  # before and after the given token
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.model.logits.normal_(generator=generator)
    return Case(game=game, policy=made)


def _given_tokens_count(case: Case) -> Sides:
    """Given tokens are counted as if the policy had sampled them."""
    return _gradients(case), np.stack(
        [case.estimate_D(baseline="none"), _by_token(case, everything=True)]
    )


@statement(
    routes=(
        "central differences of the enumerated value",
        "the trainer's estimator, and sampled tokens one by one",
    ),
    example=_begun(_GAME),
    cases=st.builds(_begun, finite_games(states=1, horizon=1), SEEDS),
    tolerance=1e-6,
    wrong=_given_tokens_count,
)
def given_tokens_carry_no_gradient(case: Case) -> Sides:
    """If the beginning of each reply is given, the gradient is the sum of returns times scores of sampled tokens.

    What is given is part of what the model is asked: the score of the policy does not count it, and the model's own
    probability of it has no gradient.

    Assumes: constant weighting, no baseline, no std, on-policy. Source: this library.
    """
    return _gradients(case), np.stack([case.estimate_D(baseline="none"), _by_token(case)])


def _gradients(case: Case) -> Array:
    """The true gradient, once for each route that it is compared with. Shape (2, D)."""
    return np.stack([central_differences(case.dist)] * 2)


def _by_token(case: Case, *, everything: bool = False) -> Array:
    """The mean of the return times the score of the sampled tokens, or of all. Shape (D,)."""
    model = case.policy.model
    total_C_V = np.zeros(tuple(model.logits.shape))
    for trajectory in trajectories(case.game, case.policy):
        weight = float(trajectory.probability) * trajectory.episode.episode_return("player")
        for _, completion in trajectory.episode.completions("player"):
            total_C_V += weight * _score_C_V(model, completion, everything=everything)
    return total_C_V.ravel()


def _score_C_V(model: TabularModel, completion: Completion, *, everything: bool) -> Array:
    """The unit vector of each token minus the distribution at its context. Shape (contexts, vocabulary)."""
    score_C_V = np.zeros(tuple(model.logits.shape))
    for place, token in enumerate(completion.reply_ids):
        if completion.trainable[place] or everything:
            row = model.row(completion.prompt_text, completion.reply_ids[:place])
            weights_V = np.exp(model.logits[row].numpy(force=True))
            score_C_V[row] -= weights_V / weights_V.sum()
            score_C_V[row, token] += 1.0
    return score_C_V

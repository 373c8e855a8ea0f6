"""Starts that differ in difficulty, and settings of estimators."""

from collections.abc import Mapping
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from proofs.estimators.laboratory import Settings
from proofs.estimators.start_weights import start_weights
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, tabular_policy
from proofs.statements.cases import Case
from tsmg import Finite, Transition, deterministic

WEIGHING: Settings = {"sampling": "aaw", "std": "population", "eps": 0.0, "kept_episodes": 1}


@final
@attrs.frozen(kw_only=True)
class Starts:
    """Starts at which "a" and "b" succeed with different chances, and how groups on one start each are used.

    Attributes:
      shares: how likely each start is.
      chances: for each start, the chance of success of "a" and of "b".
      plays_a: the probability of "a", at every start.
      told_apart: whether the policy has logits of its own for each start.
      size: G.
      settings: of the estimator.
    """

    shares: tuple[float, ...]
    chances: tuple[tuple[float, float], ...]
    plays_a: float = 0.5
    told_apart: bool = True
    size: int = 4
    settings: Mapping[str, Any] = attrs.field(default=WEIGHING, hash=False)

    @property
    def case(self) -> Case:
        """The game and the policy."""
        numbers = range(len(self.shares))
        texts = [f"start {n if self.told_apart else ''}" for n in numbers]
        game = FiniteGame(
            starts=Finite(dict(zip(numbers, self.shares, strict=True))),
            moves={
                n: {(word,): _paid(c) for word, c in zip("ab", self.chances[n], strict=True)}
                for n in numbers
            },
            texts=dict(enumerate(texts)),
        )
        dist = {"a": self.plays_a, "b": 1 - self.plays_a}
        policy = tabular_policy(("a", "b"), dists=dict.fromkeys(texts, dist))
        return Case(game=game, policy=policy, size=self.size)

    @property
    def rates(self) -> list[float]:
        """The success rate q of each start."""
        return [self.plays_a * a + (1 - self.plays_a) * b for a, b in self.chances]

    def expected(self) -> Array:
        """The expected estimate of groups on one start each, by the trainer's estimator. Shape (D,)."""
        return self.case.estimate_D(group_on="initial_state", **self.settings)

    def weights(self) -> Array:
        """The weight kappa of each start. Shape (S,)."""
        return start_weights(self.case.config(**self.settings), self.rates)

    def weighted(self, weights_S: Array) -> Array:
        """The sum over starts of share times weight times grad q, by automatic differentiation. Shape (D,)."""
        dist = self.case.dist
        start_E = np.array([trajectory.start for trajectory in dist.trajectories])
        values_E = dist.returns_E("player") * weights_S[start_E]
        return dist.expectation_gradient_D("player", values_E)


def _paid(chance: float) -> Finite[Transition[Any]]:
    won, lost = Transition("end", (1.0,)), Transition("end", (0.0,))
    if chance in (0, 1):
        return deterministic(won if chance else lost)
    return Finite({won: chance, lost: 1 - chance})


_CHANCES = st.sampled_from((0.0, 0.1, 0.2, 0.35, 0.65, 0.9, 1.0))
SETTINGS: tuple[Settings, ...] = (
    {"sampling": "all", "std": "none"},
    {"sampling": "all", "std": "none", "baseline": "leave_one_out"},
    {"sampling": "all", "std": "population"},
    {"sampling": "all", "std": "sample", "eps": 0.1},
    {"sampling": "uniform", "std": "population", "kept_episodes": 2},
    {"sampling": "aaw", "std": "none", "kept_episodes": 1},
    {"sampling": "aaw", "std": "population", "kept_episodes": 2},
    {"sampling": "aaw", "std": "none", "kept_episodes": 2, "alpha": 2.0},
    {"sampling": "aaw", "std": "none", "kept_episodes": 2, "replacement": True},
    {"sampling": "aaw", "std": "none", "kept_episodes": 2, "corrected": True},
    {"sampling": "aaw", "std": "none", "kept_episodes": 2, "baseline": "none"},
)
EVEN: tuple[Settings, ...] = (
    {"sampling": "all", "std": "none"},
    {"sampling": "all", "std": "none", "baseline": "leave_one_out"},
    {"sampling": "uniform", "std": "none", "kept_episodes": 2},
    {"sampling": "aaw", "std": "none", "kept_episodes": 2, "corrected": True},
)


def starts_cases(
    settings: tuple[Settings, ...], sizes: st.SearchStrategy[int]
) -> st.SearchStrategy[Starts]:
    """Two starts of any difficulty, under one of these settings."""
    return st.builds(
        Starts,
        shares=st.sampled_from(((0.5, 0.5), (0.25, 0.75))),
        chances=st.tuples(*(st.tuples(_CHANCES, _CHANCES) for _ in range(2))),
        plays_a=st.sampled_from((0.2, 0.5, 0.7)),
        told_apart=st.booleans(),
        size=sizes,
        settings=st.sampled_from(settings),
    )


HARD_AND_EASY = Starts(shares=(0.5, 0.5), chances=((0.65, 0.35), (0.0, 0.1)), size=4)

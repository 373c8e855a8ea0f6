"""Starts that a rule chooses: what is ascended then, and what restores the game's own starts."""

from collections.abc import Sequence
from typing import Any, final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms import Estimator
from algorithms.method.starts import CandidateStart
from proofs.estimators.laboratory import analyse_estimator
from proofs.exact.gradients import Array
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR
from proofs.statements.starts.games import EVEN, HARD_AND_EASY, SETTINGS, Starts, starts_cases


@final
@attrs.frozen(kw_only=True)
class Chosen:
    """Starts among which a rule chooses.

    Attributes:
      starts: the starts, and how groups are used.
      factors: by which the rule multiplies the share of each.
      floor: share of the groups that begin by the game's law.
    """

    starts: Starts
    factors: tuple[float, ...] = (4.0, 1.0)
    floor: float = 0.0

    def probabilities(self) -> Array:
        """Q of each start, one after the other. Shape (S,)."""
        mu = self.starts.shares
        total = sum(m * f for m, f in zip(mu, self.factors, strict=True))
        return np.array(
            [
                self.floor * m + (1 - self.floor) * m * f / total
                for m, f in zip(mu, self.factors, strict=True)
            ]
        )

    def expected(self, **settings: Any) -> Array:
        """The expected estimate of groups that begin where the rule says, by the trainer's estimator. Shape (D,)."""
        case = self.starts.case
        config = case.config(
            group_on="initial_state",
            start_floor=self.floor,
            **{**self.starts.settings, **settings},
        )
        estimator = Estimator.of(config, case.game.facts, starts=self._rule)
        return analyse_estimator(case.dist, config, estimator=estimator).mean_D

    def _rule(self, listed: Sequence[CandidateStart]) -> Sequence[float]:
        return [self.factors[start.state] for start in listed]

    def followed(self, probabilities_S: Array) -> Array:
        """The sum over starts of these probabilities times kappa times grad q, by autodiff. Shape (D,)."""
        shares_S = np.array(self.starts.shares)
        return self.starts.weighted(self.starts.weights() * probabilities_S / shares_S)


def _chosen_cases(settings: Sequence[Any]) -> st.SearchStrategy[Chosen]:
    return st.builds(
        Chosen,
        starts=starts_cases(tuple(settings), st.integers(2, 3)),
        factors=st.sampled_from(((4.0, 1.0), (0.5, 3.0), (1.0, 9.0))),
        floor=st.sampled_from((0.0, 0.3)),
    )


def _the_games_own_starts(chosen: Chosen) -> Sides:
    """What is ascended is taken to be the game's mean, whatever the rule chooses."""
    return chosen.expected(), chosen.followed(np.array(chosen.starts.shares))


@statement(
    routes=(BY_ESTIMATOR, "weights of starts, times gradients by autodiff"),
    example=Chosen(starts=HARD_AND_EASY),
    cases=_chosen_cases(SETTINGS),
    wrong=_the_games_own_starts,
)
def a_curriculum_ascends_the_mean_over_the_starts_that_it_chooses(chosen: Chosen) -> Sides:
    """With starts drawn from mu~ in place of mu, the expected estimate is E[kappa(q(s)) grad q(s)] over s of mu~.

    So a start rule and the weight kappa multiply: a start counts by how often groups begin on it, times the weight of a
    group on it. If kappa is constant, it is the gradient of the mean return over mu~.

    Assumes: as for weights of starts; the rule as its state stands. Source: reconstructed.
    """
    return chosen.expected(), chosen.followed(chosen.probabilities())


def _without_weights(chosen: Chosen) -> Sides:
    """The weights mu / mu~ are left out."""
    return _the_games_own_starts(chosen)


@statement(
    routes=(BY_ESTIMATOR, "weights of starts, times gradients by autodiff"),
    example=Chosen(starts=HARD_AND_EASY),
    cases=_chosen_cases(SETTINGS),
    wrong=_without_weights,
)
def weights_of_chosen_starts_restore_the_game(chosen: Chosen) -> Sides:
    """With each group's loss multiplied by mu(s) / mu~(s), the expected estimate is that over the game's own starts.

    Assumes: as for weights of starts; mu~(s) > 0 wherever mu(s) > 0; groups of a batch do not interact.
    Source: importance sampling.
    """
    return chosen.expected(correct_starts=True), chosen.followed(np.array(chosen.starts.shares))


def _uncorrected(chosen: Chosen) -> Sides:
    """The weights mu / mu~ are left out, where kappa is constant, too."""
    return chosen.expected(), _gradient(chosen)


@statement(
    routes=(BY_ESTIMATOR, "the gradient of the mean return by autodiff, times kappa"),
    example=Chosen(starts=attrs.evolve(HARD_AND_EASY, settings=EVEN[0])),
    cases=_chosen_cases(EVEN),
    wrong=_uncorrected,
)
def a_corrected_curriculum_with_an_even_weight_follows_the_true_gradient(chosen: Chosen) -> Sides:
    """If kappa is the same for all starts, and losses are multiplied by mu / mu~, the true gradient is followed.

    Then a curriculum does not change the mean; it only moves noise between starts.

    Assumes: as above; group mean or leave-one-out baseline without std, every episode or corrected draws.
    Source: reconstructed.
    """
    return chosen.expected(correct_starts=True), _gradient(chosen)


def _gradient(chosen: Chosen) -> Array:
    """The true gradient, times the one kappa."""
    kappa: float = chosen.starts.weights()[0]
    return kappa * chosen.starts.case.dist.gradient_D

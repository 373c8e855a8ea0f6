"""Groups that share a hidden state or chance draws: the std can reverse the gradient."""

from typing import final

import attrs
from hypothesis import strategies as st

from algorithms.play.rollouts import collect_groups
from lap import LanguageAgentPolicy, TabularModel
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, choice_game, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import BY_ESTIMATOR, Case
from proofs.statements.normalisation.two_values import POPULATION, coefficient
from tsmg import Finite, Transition, deterministic

_CHECKED_GROUPS = 40


@final
@attrs.frozen(kw_only=True)
class _Gamble:
    """Risky pays a prize with some chance and else costs 1; safe pays nothing.

    Attributes:
      prize: what risky pays when it is lucky.
      chance: how likely luck is.
      q: the probability that the policy plays risky.
      size: G.
    """

    prize: float = 10.0
    chance: float = 1 / 3
    q: float = 0.5
    size: int = 8

    @property
    def outcomes(self) -> dict[float, float]:
        """The payments of risky, with their probabilities."""
        return {self.prize: self.chance, -1.0: 1 - self.chance}

    @property
    def policy(self) -> LanguageAgentPolicy[TabularModel]:
        """The policy, whose first weight is the logit of risky."""
        dists = {"choose": {"risky": self.q, "safe": 1 - self.q}}
        return tabular_policy(("risky", "safe"), dists=dists)

    @property
    def hidden(self) -> Case:
        """The luck is determined in the first state, which the agent cannot see."""
        nothing = deterministic(Transition("end", (0.0,)))
        game = FiniteGame(
            starts=Finite(self.outcomes),
            moves={
                paid: {("risky",): deterministic(Transition("end", (paid,))), ("safe",): nothing}
                for paid in self.outcomes
            },
            texts=dict.fromkeys(self.outcomes, "choose"),
        )
        return Case(game=game, policy=self.policy, size=self.size)

    @property
    def drawn(self) -> Case:
        """The luck is determined after the choice."""
        return self.with_payment(Finite(self.outcomes))

    def with_payment(self, paid: float | Finite[float]) -> Case:
        """Risky pays this, or by this distribution."""
        game = choice_game({"risky": paid, "safe": 0.0})
        return Case(game=game, policy=self.policy, size=self.size)

    def per_variance(self, vector_D: Array) -> float:
        """The component of risky's logit, as a multiple of q (1 - q)."""
        return float(vector_D[0]) / (self.q * (1 - self.q))

    @property
    def closed_form(self) -> tuple[float, float]:
        """Estimate and truth where the members of a group share the luck.

        In a group of one luck the returns take two values, so only the sign of what risky pays is left.
        """
        truth = self.prize * self.chance - (1 - self.chance)
        return (2 * self.chance - 1) * coefficient(self.q, self.size), truth


_GAMBLES = st.builds(
    _Gamble,
    prize=st.sampled_from((3.0, 10.0)),
    chance=st.sampled_from((0.2, 1 / 3, 0.5)),
    q=st.sampled_from((0.2, 0.5, 0.8)),
    size=st.integers(2, 8),
)


def _reference_values(side: Array) -> bool:
    """The figures of the reference values, derived independently of this library."""
    return [round(float(x), 2) for x in side] == [-0.62, 2.67]


def _nothing_shared(gamble: _Gamble) -> Sides:
    """The members of a group have initial states of their own (which keeps the sign here)."""
    case = gamble.hidden
    analysis = case.analysis(group_on="nothing", **POPULATION)
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(analysis.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


@statement(
    routes=(BY_ESTIMATOR, "a sum over n in closed form"),
    example=_Gamble(),
    cases=_GAMBLES,
    shows=_reference_values,
    wrong=_nothing_shared,
)
def a_shared_hidden_state_can_reverse_the_gradient(gamble: _Gamble) -> Sides:
    """If a group shares a hidden state, dividing by the std can make the worse action the more likely one.

    Risky pays 10 with probability 1/3 and otherwise -1, safe pays 0; what risky pays is fixed for a group. Within a
    group only the sign of the payment is left, and two signs in three are negative. Both sides: estimate and truth, in
    multiples of q (1 - q).

    Assumes: as for two values; groups on the initial state. Source: reconstructed.
    """
    case = gamble.hidden
    analysis = case.analysis(group_on="initial_state", **POPULATION)
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(analysis.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


def _own_chance(gamble: _Gamble) -> Sides:
    """Each member draws for itself (which keeps the sign here)."""
    case = gamble.drawn
    analysis = case.analysis(**POPULATION)
    truth_D = case.dist.gradient_D
    return [gamble.per_variance(analysis.mean_D), gamble.per_variance(truth_D)], gamble.closed_form


@statement(
    routes=("a mixture of analyses, one per draw", "a sum over n in closed form"),
    example=_Gamble(),
    cases=_GAMBLES,
    shows=_reference_values,
    wrong=_own_chance,
)
def shared_chance_can_reverse_the_gradient(gamble: _Gamble) -> Sides:
    """If a group shares its chance draws, dividing by the std can make the worse action the more likely one.

    As with a shared hidden state, but what risky pays is drawn after the choice, once for the group. Given the draw the
    game is without chance, so the expected estimate is the mixture of those of the games with the payment fixed. That
    the runner's common chance pays all members alike who play risky, is checked in groups that it plays.

    Assumes: as for two values; common chance. Source: reconstructed.
    """
    _check_that_luck_is_shared(gamble)
    estimate = 0.0
    for paid, p in gamble.outcomes.items():
        fixed = gamble.with_payment(paid)
        analysis = fixed.analysis(**POPULATION)
        estimate += p * gamble.per_variance(analysis.mean_D)
    return [estimate, gamble.per_variance(gamble.drawn.dist.gradient_D)], gamble.closed_form


def _check_that_luck_is_shared(gamble: _Gamble) -> None:
    """Raises where the runner pays members of one group differently for risky, or all groups alike."""
    played = collect_groups(
        gamble.drawn.game,
        gamble.policy,
        seed=0,
        update=0,
        groups=_CHECKED_GROUPS,
        group_size=gamble.size,
        common_chance=True,
    )
    paid = [set(group.returns_G("player")) - {0.0} for group in played.groups]
    if max(map(len, paid)) != 1 or len(set().union(*paid)) != len(gamble.outcomes):
        raise AssertionError(
            f"risky must pay the same within a group and vary between (got {paid})"
        )

"""Cases that many statements share: a game, a policy, and a size of group."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

import attrs
from hypothesis import strategies as st

from algorithms import Estimator, MSGRPOConfig
from algorithms.method.credit import CreditRule
from lap import LanguageAgentPolicy, LastTurnsPrompt, MemorylessPrompt, TabularModel
from proofs.estimators.laboratory import EstimatorAnalysis, analyse_estimator
from proofs.exact.gradients import Array, TrajectoryDistribution
from proofs.small_games import (
    WORDS,
    FiniteGame,
    choice_game,
    finite_games,
    random_policy,
    tabular_policy,
)
from tsmg import Finite, Forfeit, Transition, deterministic

BY_ESTIMATOR = "the trainer's estimator over all groups"
BY_AUTODIFF = "automatic differentiation of the value"
LAST_TURN = LastTurnsPrompt(turns=1, with_rules=False)
NO_MEMORY = MemorylessPrompt(with_rules=False)
SEEDS = st.integers(0, 10_000)


@final
@attrs.frozen(kw_only=True, eq=False, slots=False)
class Case:
    """A game, the policy of all its agents, and the size G of a group."""

    game: FiniteGame
    policy: LanguageAgentPolicy[TabularModel]
    size: int = 2

    @cached_property
    def dist(self) -> TrajectoryDistribution:
        """The trajectory distribution."""
        return TrajectoryDistribution.of(self.game, self.policy)

    def config(self, **settings: Any) -> MSGRPOConfig:
        """One group a batch, every episode trained on, no std, no KL, unless the settings say otherwise."""
        plain = {"groups": 1, "group_size": self.size, "sampling": "all", "std": "none"}
        return MSGRPOConfig(**{**plain, "group_on": "nothing", "kl_coefficient": 0.0, **settings})

    def analysis(self, *, rule: CreditRule | None = None, **settings: Any) -> EstimatorAnalysis:
        """The analysis of the trainer's estimator under ``config(**settings)``, or under a credit rule of your own."""
        config = self.config(**settings)
        estimator = Estimator.of(config, self.game.facts, credit=rule)
        return analyse_estimator(self.dist, config, estimator=estimator)

    def estimate_D(self, *, rule: CreditRule | None = None, **settings: Any) -> Array:
        """The expected estimate under these settings. Shape (D,)."""
        return self.analysis(rule=rule, **settings).mean_D


def choice_case(
    returns: Mapping[str, float | Finite[float]],
    probabilities: Mapping[str, float],
    *,
    lengths: Mapping[str, int] | None = None,
    size: int = 2,
) -> Case:
    """One decision (``choice_game``) under a policy of these probabilities, without any other reply."""
    forced = {
        str((action, n)): {"on": 1.0}
        for action, length in (lengths or {}).items()
        for n in range(1, length)
    }
    policy = tabular_policy((*returns, "on"), dists={"choose": probabilities, **forced})
    return Case(game=choice_game(returns, lengths=lengths), policy=policy, size=size)


def random_cases(
    *, agents: int = 1, states: int = 2, horizon: int = 2, size: int = 2
) -> st.SearchStrategy[Case]:
    """Games of ``finite_games`` with policies of random weights."""

    def case(game: FiniteGame, seed: int) -> Case:
        return Case(game=game, policy=random_policy(game, WORDS, seed=seed), size=size)

    games = finite_games(agents=agents, states=states, horizon=horizon)
    return st.builds(case, games, SEEDS)


# Two players of one policy show cards at the same time; zero-sum, but for forfeits.
_CARDS_GAME = FiniteGame(
    agents=("even", "odd"),
    starts=deterministic("show"),
    moves={
        "show": {
            ("a", "a"): deterministic(Transition("end", (2.0, -2.0))),
            ("a", "b"): deterministic(Transition("end", (-1.0, 1.0))),
            ("b", "a"): deterministic(Transition("end", (0.0, 0.0))),
            ("b", "b"): deterministic(Transition("end", (1.0, -1.0))),
        }
    },
    invalid_rule=Forfeit(penalty=1.0),
)
CARDS = Case(game=_CARDS_GAME, policy=random_policy(_CARDS_GAME, WORDS, seed=3))

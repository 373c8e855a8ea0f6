"""Learning by constrained decoding: what is drawn along a trie is learnt as it was drawn."""

from typing import final

import attrs
import numpy as np
import torch
from hypothesis import strategies as st

from lap import ConstrainedPolicy, LanguageAgentPolicy, Sampling, TabularModel
from proofs.exact.enumeration import expected_return, trajectories
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, choice_game, finite_games, tabular_policy
from proofs.statement import Sides, statement
from proofs.statements.cases import SEEDS
from tsmg import Completion, StandStill

_STEP = 1e-5
_LETTERS = ("x", "y")
_SPELT = {"a": "xy", "b": "xxy"}  # the first letter is forced, and so is what follows the choice
_TEMPERATURES = st.sampled_from((1.0, 0.5, 2.0))
_REWARDS = st.sampled_from((-1.0, 0.0, 1.0, 2.0))


@final
@attrs.frozen(kw_only=True, eq=False)
class SpeltCase:
    """A game whose actions are spelt in letters, and a policy that spells.

    Attributes:
      game: the game.
      policy: its logits are drawn; it names only legal actions when it plays by ``player``.
    """

    game: FiniteGame
    policy: LanguageAgentPolicy[TabularModel]

    @classmethod
    def drawn(cls, game: FiniteGame, *, seed: int, temperature: float) -> "SpeltCase":
        """A game with a policy of normally distributed logits."""
        sampling = Sampling(temperature=temperature, max_reply_tokens=4)
        policy = tabular_policy(_LETTERS, capacity=24).with_sampling(sampling)
        with torch.no_grad():
            policy.model.logits.normal_(generator=torch.Generator().manual_seed(seed))
        return cls(game=game, policy=policy)

    @property
    def player(self) -> ConstrainedPolicy:
        """The policy that plays."""
        return ConstrainedPolicy(game=self.game, policy=self.policy)

    def differences_D(self) -> Array:
        """The gradient of the expected return of constrained play, by moving each logit. Shape (D,)."""

        def value() -> float:
            return expected_return(trajectories(self.game, self.player), "player")

        flat_D = self.policy.model.logits.data.view(-1)
        gradient_D = np.zeros(len(flat_D))
        value()  # contexts get their rows as they are met
        for d in range(len(self.policy.model.contexts) * (len(_LETTERS) + 1)):
            kept = float(flat_D[d])
            flat_D[d] = kept + _STEP
            above = value()
            flat_D[d] = kept - _STEP
            gradient_D[d] = (above - value()) / (2 * _STEP)
            flat_D[d] = kept
        return gradient_D

    def expected_scores_D(self, *, on_support: bool) -> Array:
        """The expectation of the return times the sum of the scores of the tokens that were chosen. Shape (D,)."""
        factors: dict[Completion, float] = {}
        for trajectory in trajectories(self.game, self.player):
            weight = float(trajectory.probability) * trajectory.episode.episode_return("player")
            for _, completion in trajectory.episode.completions("player"):
                factors[completion] = factors.get(completion, 0.0) + weight
        recorded = list(factors)
        if not on_support:
            recorded = [attrs.evolve(completion, support=None) for completion in recorded]
        model = self.policy.model
        scores = model.logprobs(recorded, sampling=self.policy.sampling)
        summed_C = (scores.logprobs_B_L * scores.mask_B_L).sum(-1)
        factors_C = torch.tensor(list(factors.values()), dtype=torch.float64)
        (gradient,) = torch.autograd.grad(factors_C @ summed_C, [model.logits])
        gradient_D: Array = gradient.flatten().numpy()
        return gradient_D


def _spelt(game: FiniteGame, seed: int, temperature: float) -> SpeltCase:
    """A game of several steps, of two actions."""
    moves = {
        state: {tuple(_SPELT[word] for word in joint): dist for joint, dist in of_state.items()}
        for state, of_state in game.moves.items()
    }
    spelt = attrs.evolve(game, moves=moves, invalid_rule=StandStill())
    return SpeltCase.drawn(spelt, seed=seed, temperature=temperature)


def _choice(returns: tuple[float, ...], seed: int, temperature: float) -> SpeltCase:
    """One decision among four actions, spelt by up to two choices."""
    game = choice_game(dict(zip(("xx", "xyx", "y", "yy"), returns, strict=True)))
    return SpeltCase.drawn(game, seed=seed, temperature=temperature)


def _free_scores(case: SpeltCase) -> Sides:
    """The recorded support is dropped: replies are scored under the free distribution."""
    return case.differences_D(), case.expected_scores_D(on_support=False)


@statement(
    routes=("central differences of the enumerated value", "scores on the recorded support"),
    example=_choice((1.0, 0.0, -1.0, 0.5), seed=1, temperature=0.5),
    cases=st.one_of(
        st.builds(_spelt, finite_games(), SEEDS, _TEMPERATURES),
        st.builds(_choice, st.tuples(*[_REWARDS] * 4), SEEDS, _TEMPERATURES),
    ),
    tolerance=1e-7,
    wrong=_free_scores,
)
def what_is_drawn_along_a_trie_is_learnt_on_its_recorded_support(case: SpeltCase) -> Sides:
    """The mean of the return times the sum of the scores on the recorded supports is the gradient of constrained play.

    The value is that of play in which replies are drawn along the trie of the legal actions' replies, at the policy's
    temperature. A token that alone can follow has no score. So learning needs only the supports from the tries.

    Assumes: the legal actions and their texts do not depend on the weights.
    Source: REINFORCE (R. J. Williams, 1992) in the distribution that is drawn from; reconstructed.

    Theory: Theorem 14.1, Equation 14.3.
    """
    return case.differences_D(), case.expected_scores_D(on_support=True)

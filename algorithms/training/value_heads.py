"""Value heads: a critic that reads the policy's own last hidden states, and learns with the policy.

A head is linear and begins at 0. Its loss, half the squared error of the value of each place, is a term of the policy's
loss, with the same weights of tokens; its gradient goes on into the network that policy and head share.

Source: TRL's first PPO trainer: the head, which state it reads (the last one, not detached), and its loss with the
coefficient 0.1. That it begins at 0, and that values are not clipped, is ours [ours].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, final

import attrs
import torch

from algorithms.method.batch import TrainingRow, adjacent, micro_batches
from algorithms.method.critic import CriticCredit
from algorithms.method.estimator import Estimator
from algorithms.method.value_functions import Position, ValueHead, packed, unpacked
from algorithms.play.after_episodes import read_at_end
from algorithms.training.learner import Learner
from lap.model import ValuedModel
from tsmg import AbstractGame, InvalidArgumentError

WithinMemory = Callable[[Callable[[int], list[float]]], list[float]]
"""What an attempt with a number of tokens returns; where memory runs out, with fewer tokens."""


@final
class HeadCritic:
    """A critic by the value head of a learner; it learns with the policy, and ``fit`` does nothing.

    Args:
      learner: it has a value head.
      within_memory: calls what is given with the number of tokens of a forward pass.
    """

    def __init__(self, learner: Learner, within_memory: WithinMemory) -> None:
        self.learner, self.within_memory = learner, within_memory

    def values(self, positions: Sequence[Position]) -> list[float]:
        """The value of each place, as policy and head stand."""
        return self.within_memory(lambda token_budget: self._values(positions, token_budget))

    @torch.no_grad()
    def _values(self, positions: Sequence[Position], token_budget: int) -> list[float]:
        completions = {id(p.completion): p.completion for p in positions}.values()
        rows = [TrainingRow(agent="", completion=c, advantage=0.0, weight=0.0) for c in completions]
        found: dict[int, list[float]] = {}
        for batch in micro_batches(sorted(rows, key=adjacent), token_budget):
            values_B_L = self.learner.scores([row.completion for row in batch]).values_B_L
            assert values_B_L is not None  # noqa: S101 - there is a head
            found |= zip((id(row.completion) for row in batch), values_B_L.tolist(), strict=True)
        return [found[id(p.completion)][p.tokens] for p in positions]

    def fit(self, positions: Sequence[Position], returns: Sequence[float]) -> None:
        """Nothing: the head has learnt with the policy."""

    def state(self) -> Mapping[str, Any]:
        """The head's weights; the optimiser's moments are those of the policy's optimiser."""
        return {"weights": [packed(p) for p in self._parameters]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Give the head these weights."""
        with torch.no_grad():
            for parameter, text in zip(self._parameters, state["weights"], strict=True):
                parameter.copy_(unpacked(text).reshape(parameter.shape))

    @property
    def _parameters(self) -> list[torch.nn.Parameter]:
        assert self.learner.value_head is not None  # noqa: S101 - there is a head
        return list(self.learner.value_head.parameters())


def with_value_heads(learners: Sequence[Learner], rule: object) -> tuple[Learner, ...]:
    """The learners, each with a value head of its own where the credit rule asks for them.

    Args:
      learners: the policies that learn.
      rule: the credit rule.

    Raises:
      InvalidArgumentError: a model has no hidden states that a head could read.
    """
    if not _asks_for_heads(rule):
        return tuple(learners)
    return tuple(attrs.evolve(x, value_head=_new_head(x, rule)) for x in learners)


def give_critics(
    estimator: Estimator,
    learners: Sequence[Learner],
    game: AbstractGame[Any, Any],
    within_memory: WithinMemory,
) -> None:
    """Tell the credit rule what is read after episodes, and give it the learners' value heads as critics, if it asks.

    Args:
      estimator: with the credit rule.
      learners: those of ``with_value_heads``.
      game: that is played.
      within_memory: as ``HeadCritic`` has it.
    """
    policies = {agent: learner.policy for learner in learners for agent in learner.agents}
    estimator.bind(read_at_end(game, policies))
    rule = estimator.credit
    if _asks_for_heads(rule):
        for learner in learners:
            critic = HeadCritic(learner, within_memory)
            rule.critics.update(dict.fromkeys(learner.agents, critic))


def _new_head(learner: Learner, rule: CriticCredit) -> ValueHead:
    model: object = learner.policy.model
    if not isinstance(model, ValuedModel):
        raise InvalidArgumentError(
            f"'critic' 'head' reads the last hidden states of a network, which {type(model).__name__} does not give: "
            "choose 'critic' 'text'"
        )
    device = next(learner.policy.model.network.parameters()).device
    return ValueHead(model.state_width, of_turns=rule.gae == "turn").to(device)


def _asks_for_heads(rule: object) -> TypeGuard[CriticCredit]:
    """Whether a rule makes no critics, and was given none but value heads, such as those of an earlier trainer."""
    return (
        isinstance(rule, CriticCredit)
        and rule.make is None
        and all(isinstance(critic, HeadCritic) for critic in rule.critics.values())
    )

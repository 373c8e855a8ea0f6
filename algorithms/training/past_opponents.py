"""Past copies of a policy as its opponent."""

from collections.abc import Sequence
from typing import Any, final

import attrs

from algorithms.play.matchups import AbstractMatchups
from algorithms.runs.state import TrainingState, as_saved, load_model_state, model_state
from algorithms.training.learner import Learner, TrainablePolicy
from lap import ConstrainedPolicy, Sampling, frozen_copy
from tsmg import (
    AbstractGame,
    AgentPolicy,
    InvalidArgumentError,
    NoReplyError,
    Reply,
    Request,
    Stream,
)


@final
class PastOpponents:
    """Past copies of a policy, as an opponent: each group meets one of them, drawn by its key.

    Args:
      policy: the policy that learns; the first copy is of its current state.
      every: updates between copies.
      size: how many copies are kept, the newest ones.
      legal_in: the game to whose legal actions the copies are constrained, as a constrained policy is; unless given,
        they are not constrained.

    Raises:
      InvalidArgumentError: ``every`` or ``size`` is below 1.

    Attributes:
      copies: the copies, the newest last.
    """

    def __init__(
        self,
        policy: TrainablePolicy,
        *,
        every: int = 10,
        size: int = 5,
        legal_in: AbstractGame[Any, Any] | None = None,
    ) -> None:
        for name, value in (("every", every), ("size", size)):
            if value < 1:
                raise InvalidArgumentError(f"'{name}' must be at least 1 (got {value})")
        self.every = every
        self.size = size
        self.legal_in = legal_in
        self.copies = [frozen_copy(policy)]
        self._model = policy.model

    def follows(self, policy: TrainablePolicy) -> bool:
        """Whether the copies are of this policy, under whatever sampling."""
        return policy.model is self._model or policy.model.network is self._model.network

    def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, each by the copy that its group meets."""
        indices = [self._index(request) for request in requests]
        replies: dict[int, Reply] = {}
        for index in sorted(set(indices)):
            asked = [n for n, i in enumerate(indices) if i == index]
            try:
                answered = self._player(index).reply([requests[n] for n in asked])
            except NoReplyError as error:
                error.index = asked[error.index]
                raise
            replies.update(zip(asked, answered, strict=True))
        return [replies[n] for n in range(len(requests))]

    def _player(self, index: int) -> AgentPolicy:
        """What plays as the copy of that number."""
        copy = self.copies[index]
        return copy if self.legal_in is None else ConstrainedPolicy(game=self.legal_in, policy=copy)

    def _index(self, request: Request) -> int:
        key = request.key
        rng = Stream("past self", key.seed, key.phase.value, key.update, key.group)
        return rng.integer(len(self.copies))

    def remember(self, policy: TrainablePolicy, update: int) -> None:
        """Take a copy if one is due; called after each update, with the number of updates done."""
        if update % self.every == 0:
            self.copies = [*self.copies, frozen_copy(policy)][-self.size :]

    def state(self) -> TrainingState:
        """The copies: weights, and the sampling of each."""
        return TrainingState.of(
            {str(n): model_state(past.model) for n, past in enumerate(self.copies)},
            samplings=[attrs.asdict(past.sampling) for past in self.copies],
        )

    def load_state(self, state: TrainingState) -> None:
        """Restore the copies of a state that ``state`` returned.

        Raises:
          RunFolderError: they are of another network, or malformed.
        """
        with as_saved():
            samplings = [Sampling(**sampling) for sampling in state.values["samplings"]]
        copies = [frozen_copy(self.copies[0]).with_sampling(sampling) for sampling in samplings]
        for n, past in enumerate(copies):
            load_model_state(past.model, state.part(str(n)))
        self.copies = copies


def past_opponents(
    matchups: AbstractMatchups, learners: Sequence[Learner]
) -> tuple[PastOpponents, ...]:
    """The distinct opponents of matchups that are past copies of a learner.

    Args:
      matchups: who plays whom.
      learners: the policies that learn.

    Raises:
      InvalidArgumentError: several policies learn, and an opponent's copies are of none of them.
    """
    distinct = {id(opponent): opponent for opponent in matchups.opponents()}
    found = tuple(x for x in distinct.values() if isinstance(x, PastOpponents))
    for opponent in found:
        followed_learner(opponent, learners)
    return found


def remember_learners(
    opponents: Sequence[PastOpponents], learners: Sequence[Learner], update: int
) -> None:
    """Let each opponent take its copy, if one is due after ``update`` updates."""
    for opponent in opponents:
        opponent.remember(followed_learner(opponent, learners).policy, update)


def followed_learner(opponent: PastOpponents, learners: Sequence[Learner]) -> Learner:
    """The learner that an opponent copies; the only one, if one policy learns."""
    found = [x for x in learners if len(learners) == 1 or opponent.follows(x.policy)]
    if not found:
        raise InvalidArgumentError("'matchups': past opponents must follow a policy that learns")
    return found[0]

"""Past copies of a policy as its opponent."""

from collections.abc import Sequence
from typing import Any, final

import attrs

from algorithms.play.matchups import AbstractMatchups
from algorithms.runs.state import TrainingState, as_saved, load_model_state, model_state
from algorithms.training.learner import TrainablePolicy
from lap import ConstrainedPolicy, Sampling, frozen_copy
from tsmg import AbstractGame, AgentPolicy, InvalidArgumentError, Reply, Request, Stream


@final
class PastOpponents:
    """Past copies of a policy, as an opponent: each group meets one of them, drawn by its key.

    Args:
      policy: the policy that learns; the first copy is of it as it stands.
      every: updates between copies.
      size: how many copies are kept, the newest ones.
      legal_in: the game whose legal actions alone the copies can say, as the policy does where it is trained so; unless
        given, they say anything.

    Raises:
      InvalidArgumentError: ``every`` or ``size`` is below 1.
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

    def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, each by the copy that its group meets."""
        indices = [self._index(request) for request in requests]
        replies: dict[int, Reply] = {}
        for index in sorted(set(indices)):
            asked = [n for n, i in enumerate(indices) if i == index]
            answered = self._player(index).reply([requests[n] for n in asked])
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
        """Take a copy every so many updates; called after each, with the number of updates done."""
        if update % self.every == 0:
            self.copies = [*self.copies, frozen_copy(policy)][-self.size :]

    def state(self) -> TrainingState:
        """The copies: weights, and the sampling of each."""
        return TrainingState.of(
            {str(n): model_state(past.model) for n, past in enumerate(self.copies)},
            samplings=[attrs.asdict(past.sampling) for past in self.copies],
        )

    def load_state(self, state: TrainingState) -> None:
        """Take over the copies of a state that ``state`` gave.

        Raises:
          RunFolderError: they are of another network, or malformed.
        """
        with as_saved():
            samplings = [Sampling(**sampling) for sampling in state.values["samplings"]]
        copies = [frozen_copy(self.copies[0]).with_sampling(sampling) for sampling in samplings]
        for n, past in enumerate(copies):
            load_model_state(past.model, state.part(str(n)))
        self.copies = copies


def past_opponents(matchups: AbstractMatchups) -> tuple[PastOpponents, ...]:
    """The distinct opponents of matchups that are past copies of a learner."""
    distinct = {id(opponent): opponent for opponent in matchups.opponents()}
    return tuple(x for x in distinct.values() if isinstance(x, PastOpponents))

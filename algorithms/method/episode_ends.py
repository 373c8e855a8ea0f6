"""What follows an episode that was cut off: what its agents would read next, and the value of that."""

from collections.abc import Callable
from typing import Any, final

from algorithms.method.batch import rewards_to_go
from algorithms.method.value_functions import Critic, Position
from lap.engine.scoring import sampled_places
from tsmg import Completion, Ending, Episode, InvalidArgumentError

ReadAtEnd = Callable[[Episode[Any], str], Completion | None]
"""From an episode and an agent to the prompt of what the agent would read next, with a reply that says nothing; or to
``None`` where that prompt does not fit the model's context, and so nothing follows."""


@final
class EpisodeEnds:
    """Places and values after episodes, for a credit rule with critics.

    Values that the advantages of a group asked for are those that critics are then fitted to: each is asked for once.

    Args:
      go_on: whether episodes that were cut off go on with a value; after others, and without it, nothing follows.

    Attributes:
      read: what an agent would read after an episode; ``None`` until the rule is bound.
    """

    def __init__(self, *, go_on: bool) -> None:
        self.go_on = go_on
        self.read: ReadAtEnd | None = None
        # by agent and id of the episode, which is held so that no other has its id
        self._known: dict[tuple[str, int], tuple[Episode[Any], float]] = {}

    def places(self, episode: Episode[Any], agent: str) -> list[Position]:
        """The place after an episode that goes on, where its value is read; none after others.

        Raises:
          InvalidArgumentError: it goes on, and the rule was not bound.
        """
        if not self.go_on or episode.ending is not Ending.TRUNCATED:
            return []
        if self.read is None:
            raise InvalidArgumentError(
                "'bootstrap' asks for what agents would read after an episode: give the rule to a trainer or to the "
                "laboratory, or call its 'bind'"
            )
        completion = self.read(episode, agent)
        return [Position(completion, sampled_places(completion)[0])] if completion else []

    def remember(self, episode: Episode[Any], agent: str, value: float) -> None:
        """Know the value after an episode until ``to_go`` or ``forget`` is called."""
        self._known[agent, id(episode)] = episode, value

    def forget(self) -> None:
        """Know no value: critics have changed, or other episodes come."""
        self._known.clear()

    def to_go(self, episode: Episode[Any], agent: str, critic: Critic | None) -> list[float]:
        """The return from each step on, with what follows the end.

        Args:
          episode: the episode.
          agent: whose rewards.
          critic: of the agent; every value is 0 without one.
        """
        _, end = self._known.pop((agent, id(episode)), (episode, None))
        if end is None:
            places = self.places(episode, agent)
            end = sum(critic.values(places)) if places and critic else 0.0
        plain = rewards_to_go(episode, agent)
        return [r + episode.discount ** (len(plain) - t) * end for t, r in enumerate(plain)]

"""Credit on two levels: advantages of replies within a segment of one subgoal, and of the segments (HiPER).

A reply has three parts, a switch, a subgoal and an action (``lap.subgoals``). A segment begins at an agent's first
reply, and at each one that switches. With r_t the rewards from step t to the agent's next reply at t', discounted from
t, D_t the discount between the two, and three values, V^switch of what is read before a reply, V^subgoal of the same
where a segment begins, and V^action after the subgoal has been said,

    Z_t = r_t + D_t Z_{t'}                                                  at the last reply of a segment Z_{t'} = B
    action     A_t = r_t + D_t V^action_{t'} - V^action_t + D_t lambda A_{t'}      there r_t + D_t B - V^action_t
    switch     A_t = Z_t - V^switch_t
    subgoal    A_t = Z_t - V^subgoal_t + D lambda' A_s                      where a segment begins

where B is V^subgoal at the beginning s of the next segment and D the discount from t to s. After the last reply all are
0, unless the episode goes on (``bootstrap``). All are then discounted from the start of the episode. A token has the
advantage of its part: none has that of a subgoal in a reply that keeps it, and tokens in no part have 0. A reply
without a switch and a subgoal is an action as a whole, so that episodes of such replies have the generalised advantages
over turns of ``critic``.

Source: HiPER, arXiv:2602.16165, by its public code: the segments, the recursions, the three values and where they are
read, and which tokens have which advantage [source]. There a token of two parts has the sum of their advantages, here
that of the first; values are fitted to plain returns in place of those that the recursions mix, and to an episode that
was cut off V^switch of what would be read next is added, in place of the values of its last reply and segment [ours].
The penalties for keeping a subgoal and for changing a kept one are left out, since rewards are the game's [ours].
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import attrs

from algorithms.method.advantages import Advantage
from algorithms.method.batch import RoleGroup, places_by_agent
from algorithms.method.critic import Turn, turns_of
from algorithms.method.episode_credit import Group
from algorithms.method.episode_ends import EpisodeEnds
from algorithms.method.rules import Reading
from algorithms.method.subgoal_replies import (
    PARTS,
    Part,
    ReadReply,
    read_replies,
    spelling,
)
from algorithms.method.value_functions import Critic, Position, TextCritic
from tsmg import Episode, InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class ValuedTurn:
    """A reply of an agent, with the values of its parts; the unit is that of rewards.

    Attributes:
      begins: whether a segment begins with it.
      earned: r, what was paid from it to the agent's next reply, discounted from it.
      discount: D, of what comes at the next one.
      switch, subgoal, action: the values before each part; that of the subgoal counts where a segment begins.
    """

    begins: bool
    earned: float
    discount: float
    switch: float = 0.0
    subgoal: float = 0.0
    action: float = 0.0


def two_level_advantages(
    turns: Sequence[ValuedTurn], *, turn_lambda: float, segment_lambda: float, end: float = 0.0
) -> list[dict[Part, float]]:
    """The advantages of an episode's replies by part, each discounted from its reply.

    Source: HiPER, arXiv:2602.16165, by its public code.

    Args:
      turns: the agent's replies, in order; a segment begins with the first whatever it says.
      turn_lambda: lambda, over the replies of a segment.
      segment_lambda: lambda', over segments.
      end: the value of what follows the last reply.

    Returns:
      For each reply the advantages of its parts; of a subgoal only where a segment begins.

    Example:
      >>> turns = [ValuedTurn(begins=True, earned=1.0, discount=0.5, subgoal=2.0, action=3.0),
      ...     ValuedTurn(begins=True, earned=4.0, discount=0.5, subgoal=2.0)]
      >>> two_level_advantages(turns, turn_lambda=1.0, segment_lambda=1.0)
      [{'switch': 2.0, 'action': -1.0, 'subgoal': 1.0}, {'switch': 4.0, 'action': 4.0, 'subgoal': 2.0}]

    Theory: Theorem 9.6, Equation 9.12, Equation 9.13, Equation 9.14.
    """
    found: list[dict[Part, float]] = []
    segment_return = end  # what the segment brings from here on
    following = end  # the value of the next action in it, or of what follows the segment
    after, later = 0.0, 0.0  # the advantage of that action, and of the next segment
    discount = 1.0  # from here to the end of the segment
    for number in reversed(range(len(turns))):
        turn = turns[number]
        segment_return = turn.earned + turn.discount * segment_return
        discount *= turn.discount
        after = turn.earned + turn.discount * (following + turn_lambda * after) - turn.action
        following = turn.action
        advantages: dict[Part, float] = {"switch": segment_return - turn.switch, "action": after}
        if turn.begins or number == 0:
            later = segment_return - turn.subgoal + discount * segment_lambda * later
            advantages["subgoal"] = later
            segment_return = following = turn.subgoal
            after, discount = 0.0, 1.0
        found.append(advantages)
    return found[::-1]


@final
class SubgoalCredit:
    """The credit rule of this module, with three critics for each agent, one for each part of a reply.

    Args:
      critic: makes a critic that knows nothing.
      turn_lambda: lambda, over the replies of a segment, in [0, 1].
      segment_lambda: lambda', over segments, in [0, 1].
      bootstrap: whether an episode that was cut off goes on with the value of what would be read next.

    Attributes:
      critics: by agent the critic of each part; all values are 0 for an agent without any.
      reading: how episodes are read; ``None`` until ``bind`` is called.
      ends: what follows episodes that were cut off.

    Theory: Theorem 9.6, Equation 9.12, Equation 9.13, Equation 9.14.
    """

    def __init__(
        self,
        critic: Callable[[], Critic] = TextCritic,
        *,
        turn_lambda: float = 1.0,
        segment_lambda: float = 0.95,
        bootstrap: bool = False,
    ) -> None:
        for name, value in (("turn_lambda", turn_lambda), ("segment_lambda", segment_lambda)):
            if not 0 <= value <= 1:
                raise InvalidArgumentError(f"{name!r} must be in [0, 1] (got {value})")
        self.make = critic
        self.turn_lambda, self.segment_lambda = turn_lambda, segment_lambda
        self.critics: dict[str, dict[Part, Critic]] = {}
        self.reading: Reading | None = None
        self.ends = EpisodeEnds(go_on=bootstrap)

    def bind(self, reading: Reading) -> None:
        """Learn how episodes are read: by their game and policies."""
        self.reading = self.ends.read = reading

    def __call__(self, group: Group, agent: str) -> list[list[Advantage]]:
        """The advantage of each token of the agent's replies, discounted from the start of the episode.

        Raises:
          InvalidArgumentError: a reply has several parts, or an episode is to go on, and ``bind`` was not called.
        """
        turns_G = [turns_of(episode, agent) for episode in group.episodes]
        spell = spelling(self.reading, agent)
        replies_G = [read_replies([t.completion for t in turns], spell) for turns in turns_G]
        replies = list(itertools.chain.from_iterable(replies_G))
        ends_G = [self.ends.places(episode, agent) for episode in group.episodes]
        values = {
            part: self._values(agent, part, [r.place(part) for r in replies if part in r.valued])
            for part in PARTS
        }
        end_values = self._values(agent, "switch", list(itertools.chain.from_iterable(ends_G)))
        found: list[list[Advantage]] = []
        self.ends.forget()
        for episode, turns, own, ends in zip(
            group.episodes, turns_G, replies_G, ends_G, strict=True
        ):
            end = sum(itertools.islice(end_values, len(ends)))
            self.ends.remember(episode, agent, end)
            advantages = two_level_advantages(
                [_valued(turn, r, values) for turn, r in zip(turns, own, strict=True)],
                turn_lambda=self.turn_lambda,
                segment_lambda=self.segment_lambda,
                end=end,
            )
            found.append(
                [
                    tuple(episode.discount**turn.step * of[p] if p else 0.0 for p in r.parts_L)
                    for turn, r, of in zip(turns, own, advantages, strict=True)
                ]
            )
        return found

    def _values(self, agent: str, part: Part, places: Sequence[Position]) -> Iterator[float]:
        """The values of a part at some places."""
        critics = self.critics.get(agent)
        return iter(critics[part].values(places)) if critics else itertools.repeat(0.0)

    def to_go(self, episode: Episode[Any], agent: str) -> list[float]:
        """The return from each step on, which critics are fitted to; with what follows the end, if it goes on."""
        return self.ends.to_go(episode, agent, self.critics.get(agent, {}).get("switch"))

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Fit each agent's critics to the returns that followed what the agent had read and said."""
        self.ends.forget()
        for agent, numbers in places_by_agent(role_groups).items():
            spell = spelling(self.reading, agent)
            rows = [
                (reply, to_go)
                for n in numbers
                for completions, to_go_T in zip(
                    role_groups[n].completions_G, role_groups[n].rewards_to_go_G, strict=True
                )
                for reply, to_go in zip(read_replies(completions, spell), to_go_T, strict=True)
            ]
            critics = self.critics.setdefault(agent, {part: self.make() for part in PARTS})
            for part, critic in critics.items():
                own = [(r.place(part), to_go) for r, to_go in rows if part in r.valued]
                critic.fit([place for place, _ in own], [to_go for _, to_go in own])

    def state(self) -> Mapping[str, Any]:
        """The state of each agent's critics."""
        return {
            agent: {part: critic.state() for part, critic in critics.items()}
            for agent, critics in self.critics.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Know what ``state`` gave."""
        self.ends.forget()
        self.critics = {agent: {part: self.make() for part in PARTS} for agent in state}
        for agent, critics in self.critics.items():
            for part, critic in critics.items():
                critic.load_state(state[agent][part])


def _valued(turn: Turn, reply: ReadReply, values: Mapping[Part, Iterator[float]]) -> ValuedTurn:
    """A turn with the values of its parts, which are next in their rows."""
    own = {part: next(values[part]) for part in reply.valued}
    return ValuedTurn(begins=reply.begins, earned=turn.earned, discount=turn.discount, **own)

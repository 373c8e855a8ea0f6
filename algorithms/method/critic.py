"""Credit by a critic: generalised advantage estimation over the turns of an episode, or over the tokens of its replies.

With V_{t,l} the critic's value of what an agent has read before its t-th reply and of the l tokens that it has sampled
since, r_t the rewards from there to its next reply, discounted from there, and D_t the discount between the two,

    turn        delta_t = r_t + D_t V_{t+1,0} - V_{t,0},       A_t = delta_t + D_t lambda A_{t+1}

    token       delta_{t,l} = V_{t,l+1} - V_{t,l},             A_{t,l} = delta_{t,l} + lambda A_{t,l+1}
                at the last token of a reply
                delta_{t,l} = r_t + D_t V_{t+1,0} - V_{t,l},   A_{t,l} = delta_{t,l} + D_t lambda A_{t+1,0}

    bi_level    the A_t of turns, and within each reply, apart from the others, those of tokens, where the last token
                has A_{t,l} = A_t + V_{t,0} - V_{t,l}

So the game's discount counts between turns, and there is none between the tokens of a reply. After the last reply V and
A are 0: an episode ends with the game, whose time limit is part of it. With ``bootstrap`` V is, in episodes that were
cut off, the value of what the agent would have read next: the game without its time limit. It is 0 all the same after
an end of the game's own, and after a forfeit. An agent that would not act next has a value there, too, although its
critic is fitted only where it replied.

At lambda 1 an advantage is the return from there on minus the value, and the expected gradient is the true one whatever
the critic says (the factor that discounts t from the start included); below 1 it is where V is the value of the policy,
and biased elsewhere.

Source: GAE, arXiv:1506.02438; turns as actions, arXiv:2512.17008; tokens as actions, TRL and verl, with one discount
for all tokens; two levels, VAGEN, arXiv:2510.16907, by its public code. None of them gives a value to what follows a
cut-off, as ``bootstrap`` does [ours]. That critics are fitted to plain returns, not to those that lambda mixes, is
verl's default (lambda 1) [source], and that values are those of the updates before, so that the advantages of an update
do not depend on each other, is ours [ours].
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final, get_args

import attrs

from algorithms.method.advantages import Advantage, GaeKind
from algorithms.method.batch import RoleGroup, places_by_agent, rewards_to_go
from algorithms.method.episode_credit import Group
from algorithms.method.episode_ends import EpisodeEnds, ReadAtEnd
from algorithms.method.value_functions import Critic, Position, TextCritic
from lap.engine.scoring import sampled_places
from tsmg import Completion, Episode, InvalidArgumentError


@final
@attrs.frozen(kw_only=True)
class Turn:
    """A reply among those of an agent in an episode.

    Attributes:
      step: its step.
      positions: the places of its sampled tokens.
      earned: r, what was paid from its step to the agent's next one, discounted from its step.
      discount: D, of what comes at the next one.
    """

    step: int
    positions: tuple[Position, ...]
    earned: float
    discount: float

    @property
    def completion(self) -> Completion:
        """The reply."""
        return self.positions[0].completion


@final
class CriticCredit:
    """The credit rule of this module, with a critic for each agent.

    Args:
      critic: makes a critic that knows nothing; ``None`` where all are given in ``critics``, and learn by themselves.
      gae_lambda: lambda, in [0, 1].
      gae: over turns, over tokens, or over both levels.
      bootstrap: whether an episode that was cut off goes on with the critic's value.

    Raises:
      InvalidArgumentError: lambda is out of its range, or ``gae`` is none of these.

    Attributes:
      critics: the critic of each agent; all values are 0 for an agent without one.
      ends: what follows episodes that were cut off.

    Theory: Theorem 9.4, Theorem 9.5, Equation 9.9, Equation 9.10, Equation 9.11.
    """

    def __init__(
        self,
        critic: Callable[[], Critic] | None = TextCritic,
        *,
        gae_lambda: float = 0.95,
        gae: GaeKind = "turn",
        bootstrap: bool = False,
    ) -> None:
        if not 0 <= gae_lambda <= 1:
            raise InvalidArgumentError(f"'gae_lambda' must be in [0, 1] (got {gae_lambda})")
        if gae not in get_args(GaeKind):
            raise InvalidArgumentError(f"'gae' must be turn, token or bi_level (got {gae!r})")
        self.make, self.gae_lambda, self.gae = critic, gae_lambda, gae
        self.critics: dict[str, Critic] = {}
        self.ends = EpisodeEnds(go_on=bootstrap)

    def bind(self, read_at_end: ReadAtEnd) -> None:
        """Learn what agents would read after an episode: from their game and policies."""
        self.ends.read = read_at_end

    def __call__(self, group: Group, agent: str) -> list[list[Advantage]]:
        """Generalised advantages of the agent's replies or tokens, discounted from the start of the episode.

        Raises:
          InvalidArgumentError: episodes that were cut off are to go on, and ``bind`` was not called.
        """
        turns_G = [turns_of(episode, agent) for episode in group.episodes]
        read_G = [[p for turn in turns for p in self._used(turn)] for turns in turns_G]
        end_G = [self.ends.places(episode, agent) for episode in group.episodes]
        asked = [
            position for read, end in zip(read_G, end_G, strict=True) for position in (*read, *end)
        ]
        critic = self.critics.get(agent)
        values = iter(critic.values(asked) if critic else itertools.repeat(0.0))
        found: list[list[Advantage]] = []
        self.ends.forget()
        for episode, turns, end in zip(group.episodes, turns_G, end_G, strict=True):
            rows = [list(itertools.islice(values, len(self._used(turn)))) for turn in turns]
            after = sum(itertools.islice(values, len(end)))
            found.append(self._advantages(turns, rows, after, discount=episode.discount))
            self.ends.remember(episode, agent, after)
        return found

    def to_go(self, episode: Episode[Any], agent: str) -> list[float]:
        """The return from each step on, which critics are fitted to; with what follows the end, if it goes on."""
        return self.ends.to_go(episode, agent, self.critics.get(agent))

    def _used(self, turn: Turn) -> tuple[Position, ...]:
        """The places of a turn whose values are used."""
        return turn.positions[:1] if self.gae == "turn" else turn.positions

    def _advantages(
        self,
        turns: Sequence[Turn],
        values: Sequence[Sequence[float]],
        end: float,
        *,
        discount: float,
    ) -> list[Advantage]:
        """The advantages of an episode.

        Args:
          turns: the agent's turns.
          values: V of each of their places.
          end: V after the last one.
          discount: of the game.
        """
        following = [*(row[0] for row in values), end][1:]
        targets = [
            turn.earned + turn.discount * value
            for turn, value in zip(turns, following, strict=True)
        ]
        found: list[Advantage] = []
        after = 0.0
        for turn, row, target in zip(
            reversed(turns), reversed(values), reversed(targets), strict=True
        ):
            decayed = turn.discount * self.gae_lambda * after
            after = target - row[0] + decayed
            factor = discount**turn.step
            if self.gae == "turn":
                found.append(factor * after)
                continue
            last = target + decayed if self.gae == "token" else after + row[0]
            tokens = list(_within(row, last, self.gae_lambda))
            after = tokens[0] if self.gae == "token" else after
            found.append(_spread([factor * a for a in tokens], turn))
        return found[::-1]

    def observe(self, role_groups: Sequence[RoleGroup]) -> None:
        """Fit each agent's critic to the returns that followed what the agent read."""
        self.ends.forget()
        if self.make is None:
            return
        for agent, places in places_by_agent(role_groups).items():
            rows = [
                (position, to_go)
                for n in places
                for completions, to_go_T in zip(
                    role_groups[n].completions_G, role_groups[n].rewards_to_go_G, strict=True
                )
                for completion, to_go in zip(completions, to_go_T, strict=True)
                for position in self._fitted(completion)
            ]
            if agent not in self.critics:
                self.critics[agent] = self.make()
            self.critics[agent].fit(
                [position for position, _ in rows], [to_go for _, to_go in rows]
            )

    def _fitted(self, completion: Completion) -> list[Position]:
        """The places of a reply whose values are learnt."""
        places = sampled_places(completion)
        return [Position(completion, l) for l in (places[:1] if self.gae == "turn" else places)]

    def state(self) -> Mapping[str, Any]:
        """The state of each agent's critic."""
        return {agent: critic.state() for agent, critic in self.critics.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Know what ``state`` gave."""
        self.ends.forget()
        if self.make is not None:
            self.critics = {agent: self.make() for agent in state}
        for agent, saved in state.items():
            if agent not in self.critics:
                raise InvalidArgumentError(
                    f"the critic of {agent!r} is a head on its policy's network: only a trainer can load it"
                )
            self.critics[agent].load_state(saved)


def turns_of(episode: Episode[Any], agent: str) -> list[Turn]:
    """The agent's turns in an episode."""
    replies = list(episode.completions(agent))
    to_go = [*rewards_to_go(episode, agent), 0.0]
    steps = [*(t for t, _ in replies), len(episode.steps)]
    turns = []
    for (t, completion), following in zip(replies, steps[1:], strict=True):
        discount = episode.discount ** (following - t)
        turns.append(
            Turn(
                step=t,
                positions=tuple(Position(completion, l) for l in sampled_places(completion)),
                earned=to_go[t] - discount * to_go[following],
                discount=discount,
            )
        )
    return turns


def _within(values: Sequence[float], last: float, gae_lambda: float) -> Iterator[float]:
    """The advantages of the tokens of a reply, whose last one is followed by what is worth ``last``."""
    following, after = last, 0.0
    found = []
    for value in reversed(values):
        after = following - value + gae_lambda * after
        following = value
        found.append(after)
    return reversed(found)


def _spread(advantages: Sequence[float], turn: Turn) -> tuple[float, ...]:
    """Advantages of the sampled tokens at their places in the reply; 0 at given ones."""
    completion = turn.positions[0].completion
    row = [0.0] * len(completion.reply_ids)
    for position, advantage in zip(turn.positions, advantages, strict=True):
        if row:
            row[position.tokens] = advantage
    return tuple(row)

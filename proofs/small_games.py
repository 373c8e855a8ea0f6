"""Small games given by their tables, tabular policies for them, and Hypothesis strategies that draw both."""

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias, final

import attrs
import torch
from hypothesis import strategies as st

from lap import LanguageAgentPolicy, MemorylessPrompt, Sampling, TabularModel, WholeReplyParser
from lap.prompts import AbstractPrompt
from proofs.exact.enumeration import TRAJECTORY_LIMIT, trajectories
from tsmg import (
    AbstractExplicitGame,
    AbstractInvalidRule,
    Distribution,
    Facts,
    Finite,
    Forfeit,
    PlayDefault,
    PlayRandomLegal,
    StandStill,
    Transition,
    deterministic,
)

State: TypeAlias = Any  # hashable; one game may mix types, such as str and tuple
TransitionDist = Finite[Transition[State]]


@final
@attrs.frozen(kw_only=True, eq=False)
class FiniteGame(AbstractExplicitGame[State, str]):
    """A game that is given by tables.

    Attributes:
      agents: names of the agents.
      starts: mu_0.
      moves: P: for each state that is not terminal, the distribution that follows each joint action; a joint action
        is a tuple of action texts, in the order of the agents that act.
      acting: the agents that act in a state; all of them in states that are not named here.
      texts: the observation text of a state, for every agent; the state's ``str`` if it is not named here.
      discount, horizon, invalid_rule, facts: as in every game.
    """

    agents: tuple[str, ...] = ("player",)
    starts: Finite[State]
    moves: Mapping[State, Mapping[tuple[str, ...], TransitionDist]]
    acting: Mapping[State, tuple[str, ...]] = attrs.field(factory=dict)
    texts: Mapping[State, str] = attrs.field(factory=dict)
    discount: float = 1.0
    horizon: int | None = 20
    invalid_rule: AbstractInvalidRule = StandStill()
    facts: Facts = Facts()

    def initial_state_dist(self) -> Distribution[State]:
        return self.starts

    def is_terminal(self, state: State) -> bool:
        return state not in self.moves

    def acting_agents(self, state: State) -> tuple[str, ...]:
        return self.acting.get(state, self.agents)

    def legal_actions(self, state: State, agent: str) -> tuple[str, ...]:
        place = self.acting_agents(state).index(agent)
        return tuple(dict.fromkeys(joint[place] for joint in self.moves[state]))

    def transition_dist(
        self, state: State, joint_action: Mapping[str, str]
    ) -> Distribution[Transition[State]]:
        joint = tuple(joint_action[agent] for agent in self.acting_agents(state))
        return self.moves[state][joint]

    def observation_text(self, state: State, agent: str) -> str:
        return self.texts.get(state, str(state))

    def action_text(self, state: State, agent: str, action: str) -> str:
        return action


def choice_game(
    returns: Mapping[str, float | Finite[float]], *, lengths: Mapping[str, int] | None = None
) -> FiniteGame:
    """One decision, paid at once, and then forced steps ("on") up to the length of the choice.

    Args:
      returns: the payment of each choice, or its distribution.
      lengths: number of steps of an episode after each choice, the choice itself included; 1 unless given.
    """
    moves: dict[State, Mapping[tuple[str, ...], TransitionDist]] = {}
    decision: dict[tuple[str, ...], TransitionDist] = {}
    for action, paid in returns.items():
        length = (lengths or {}).get(action, 1)
        dist = paid if isinstance(paid, Finite) else deterministic(paid)
        left = (action, length - 1)
        decision[(action,)] = Finite(
            {Transition(left, (float(amount),)): p for amount, p in dist.enumerate()}
        )
        for n in range(1, length):
            moves[action, n] = {("on",): deterministic(Transition((action, n - 1), (0.0,)))}
    moves["choose"] = decision
    return FiniteGame(
        starts=deterministic("choose"), moves=moves, facts=Facts(perfect_information=True)
    )


def tabular_policy(
    vocabulary: Sequence[str],
    *,
    dists: Mapping[str, Mapping[str, float]] | None = None,
    capacity: int = 64,
    prompt: AbstractPrompt = MemorylessPrompt(with_rules=False),  # noqa: B008 - a frozen value
    tokens: int = 1,
) -> LanguageAgentPolicy[TabularModel]:
    """A policy that replies with words of a vocabulary, whole replies being action texts.

    Args:
      vocabulary: the words.
      dists: by prompt text (without the line break at its end), the probability of each word; the empty word ends a
        reply. Other prompts have the uniform distribution over words and end.
      capacity: greatest number of contexts in the table.
      prompt: F.
      tokens: the greatest length of a reply.
    """
    model = TabularModel(vocabulary, capacity=capacity)
    words = (*vocabulary, "")
    with torch.no_grad():
        for text, dist in (dists or {}).items():
            p_V = torch.tensor([dist.get(word, 0.0) for word in words], dtype=torch.float64)
            model.logits[model.row(text + "\n")] = p_V.log()
    return LanguageAgentPolicy(
        model=model,
        prompt=prompt,
        parser=WholeReplyParser(),
        sampling=Sampling(max_reply_tokens=tokens),
    )


def random_policy(
    game: AbstractExplicitGame[Any, Any],
    vocabulary: Sequence[str],
    *,
    seed: int = 0,
    spread: float = 1.0,
    prompt: AbstractPrompt = MemorylessPrompt(with_rules=False),  # noqa: B008 - a frozen value
    tokens: int = 1,
    limit: int = TRAJECTORY_LIMIT,
) -> LanguageAgentPolicy[TabularModel]:
    """A policy with normally distributed logits, and only the rows that it needs to play the game in every role.

    Args:
      game: the game whose contexts get rows.
      vocabulary: the words.
      seed: seed of the logits.
      spread: standard deviation of the logits.
      prompt: F.
      tokens: the greatest length of a reply.
      limit: greatest number of trajectories.
    """
    uniform = tabular_policy(vocabulary, capacity=10_000, prompt=prompt, tokens=tokens)
    trajectories(game, uniform, limit=limit)
    policy = tabular_policy(
        vocabulary, capacity=len(uniform.model.contexts), prompt=prompt, tokens=tokens
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        policy.model.logits.normal_(generator=generator).mul_(spread)
    return policy


WORDS = ("a", "b")
_REWARDS = (-1.0, 0.0, 1.0, 2.0)


def _dists(agents: int, states: int) -> st.SearchStrategy[TransitionDist]:
    """Distributions of up to two outcomes with fractions; state number ``states`` is terminal."""
    outcomes = st.builds(
        lambda state, rewards: Transition(state, tuple(rewards)),
        st.integers(0, states),
        st.lists(st.sampled_from(_REWARDS), min_size=agents, max_size=agents),
    )
    return st.builds(
        lambda one, other, p: (
            deterministic(one) if one == other else Finite({one: p, other: 1 - p})
        ),
        outcomes,
        outcomes,
        st.sampled_from((Fraction(1, 2), Fraction(1, 3), Fraction(1, 4))),
    )


def _invalid_rules(agents: int) -> st.SearchStrategy[AbstractInvalidRule]:
    """Every rule; standing still where one agent acts, since the games have no action that does nothing."""
    penalties = st.sampled_from((0.0, 0.5))
    return st.one_of(
        *([st.builds(StandStill, penalty=penalties)] if agents == 1 else []),
        st.builds(PlayDefault, action=st.just("a"), penalty=penalties),
        st.builds(PlayRandomLegal, penalty=penalties),
        st.builds(Forfeit, penalty=penalties),
    )


@st.composite
def finite_games(
    draw: Any, *, agents: int = 1, states: int = 2, horizon: int = 2, aliased: bool = True
) -> FiniteGame:
    """Games of two actions, "a" and "b", with chance, penalties, a discount, and texts that may hide the state.

    Args:
      draw: Hypothesis's.
      agents: number of agents, which act simultaneously.
      states: number of states that are not terminal.
      horizon: greatest number of steps.
      aliased: whether different states may have the same text.
    """
    joints = list(itertools.product(WORDS, repeat=agents))
    dists = _dists(agents, states)
    first = draw(st.sampled_from((Fraction(1), Fraction(1, 2), Fraction(1, 3))))
    texts = ("x", "x", "y") if aliased and draw(st.booleans()) else ("x", "y", "z")
    return FiniteGame(
        agents=tuple(f"player{n}" for n in range(agents)) if agents > 1 else ("player",),
        starts=Finite({0: first, 1: 1 - first}) if first < 1 and states > 1 else deterministic(0),
        moves={s: {joint: draw(dists) for joint in joints} for s in range(states)},
        texts=dict(enumerate(texts)),
        discount=draw(st.sampled_from((1.0, 0.5))),
        horizon=horizon,
        invalid_rule=draw(_invalid_rules(agents)),
    )

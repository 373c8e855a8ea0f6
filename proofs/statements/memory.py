"""When a prompt without memory loses nothing, and what it loses when a condition fails."""

import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, final

import attrs
from hypothesis import strategies as st

from lap.prompts import AbstractPrompt
from proofs.exact.enumeration import expected_return, trajectories
from proofs.exact.values import best_response_return
from proofs.small_games import (
    WORDS,
    FiniteGame,
    State,
    TransitionDist,
    finite_games,
    tabular_policy,
)
from proofs.statement import Sides, statement
from proofs.statements.cases import LAST_TURN, NO_MEMORY
from proofs.statements.induced_game.others_fixed import OthersFixed
from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    Distribution,
    Finite,
    PlayerPolicy,
    Transition,
    deterministic,
)

Game = AbstractExplicitGame[Any, str]
_GAIN = ("the best of all policies of each kind, by enumeration", "a number by hand")
_PARTS = 4


@final
@attrs.frozen(kw_only=True, eq=False)
class _Table(AbstractPlayer[State, str]):
    """A distribution of actions for every text."""

    game: Game
    dists: Mapping[str, Finite[str]]

    def action_dist(self, state: State, agent: str) -> Distribution[str]:
        """The distribution in the table."""
        return self.dists[self.game.observation_text(state, agent)]


def best_without_memory(game: Game, *, parts: int = 1) -> float:
    """The greatest expected return of one agent over policies from text to action, by exhaustive search.

    Args:
      game: a game of one agent.
      parts: probabilities are multiples of 1 / parts; 1 tries only deterministic policies.

    Theory: Equation 13.2.
    """
    actions = _actions(game)
    choices = [list(_dists(actions[text], parts)) for text in actions]
    return max(
        _value(game, _Table(game=game, dists=dict(zip(actions, dists, strict=True))))
        for dists in itertools.product(*choices)
    )


def _actions(game: Game) -> Mapping[str, tuple[str, ...]]:
    """The texts at which the agent may have to act, and its legal actions there."""
    (agent,) = game.agents
    actions: dict[str, tuple[str, ...]] = {}
    states = list(game.initial_state_dist().support())
    for _ in range(game.horizon or 0):
        states = [state for state in states if not game.is_terminal(state)]
        joints: list[tuple[State, dict[str, str]]] = []
        for state in states:
            if agent in game.acting_agents(state):
                legal = game.legal_actions(state, agent) or ()
                actions[game.observation_text(state, agent)] = legal
                joints += [(state, {agent: action}) for action in legal]
            else:
                joints.append((state, {}))
        dists = [game.transition_dist(state, joint) for state, joint in joints]
        states = list({after.state: None for dist in dists for after in dist.support()})
    return actions


def _dists(actions: tuple[str, ...], parts: int) -> Iterator[Finite[str]]:
    for shares in itertools.product(range(parts + 1), repeat=len(actions)):
        if sum(shares) == parts:
            yield Finite({a: Fraction(n, parts) for a, n in zip(actions, shares, strict=True)})


def _value(game: Game, player: _Table) -> float:
    """The expected return of the one agent."""
    (agent,) = game.agents
    return expected_return(trajectories(game, PlayerPolicy(game, player)), agent)


def best_with_memory(game: Game) -> float:
    """The greatest expected return of one agent with perfect recall, by backward induction.

    Theory: Equation 13.2.
    """
    (agent,) = game.agents
    return best_response_return(game, {}, agent)


def gain_of_memory(game: Game) -> float:
    """The best return with memory minus the best without, over randomised policies."""
    return best_with_memory(game) - best_without_memory(game, parts=_PARTS)


# ---- the theorem -----------------------------------------------------------------------------


def with_time(game: FiniteGame) -> FiniteGame:
    """The same game with the time in the state and in the text, so that it ends only in terminal states."""
    steps = game.horizon or 0
    timed = {(s, t): s for s in game.moves for t in range(steps)}
    return attrs.evolve(
        game,
        starts=Finite({(s, 0): p for s, p in game.starts.enumerate()}),
        moves={
            (s, t): {joint: _at(t + 1, dist) for joint, dist in game.moves[s].items()}
            for s, t in timed
        },
        acting={(s, t): game.acting_agents(s) for s, t in timed},
        texts={(s, t): f"{s} at {t}" for s, t in timed},
    )


def _at(t: int, dist: TransitionDist) -> TransitionDist:
    return Finite({Transition((x.state, t), x.rewards_N): p for x, p in dist.enumerate()})


def _choice(pay: Mapping[str, float], after: State) -> dict[tuple[str, ...], TransitionDist]:
    """The moves of a state: the reward of each action, and the state after any of them."""
    return {(action,): deterministic(Transition(after, (r,))) for action, r in pay.items()}


def _hurry(last: float) -> FiniteGame:
    return FiniteGame(
        starts=deterministic("go"),
        moves={"go": {**_choice({"a": 1.0}, "go"), **_choice({"b": last}, "end")}},
        horizon=2,
    )


def _time_is_hidden(game: FiniteGame) -> Sides:
    """The text that the memoryless policy reads hides the time left."""
    hidden = attrs.evolve(game, texts={state: str(state[0]) for state in game.moves})
    return best_without_memory(hidden), best_with_memory(game)


@statement(
    routes=("every policy from text to action, by its trajectories", "backward induction"),
    example=with_time(_hurry(1.5)),
    cases=finite_games(aliased=False).map(with_time),
    wrong=_time_is_hidden,
)
def a_prompt_without_memory_loses_nothing_where_the_text_tells_state_and_time(
    game: FiniteGame,
) -> Sides:
    """The best deterministic policy from text to action is as good as the best policy that remembers everything.

    Assumes: one agent, whose replies are valid; the text separates (state, time left); the next state and reward
    depend on no more.
    Source: a standard fact on finite-horizon Markov decision problems (M. L. Puterman, 1994).

    Theory: Theorem 13.1, Equation 13.2.
    """
    return best_without_memory(game), best_with_memory(game)


# ---- the conditions, one by one --------------------------------------------------------------

_SHARES = st.sampled_from((0.125, 0.25, 0.375, 0.5, 0.75))


def _doors_are_told_apart(share: float) -> Sides:
    """The text at the door tells the state."""
    return gain_of_memory(_signs(share, hidden=False)), min(share, 1 - share) / 2


@statement(
    routes=_GAIN,
    example=0.375,
    cases=_SHARES,
    sweep=5,
    shows=lambda gain: gain[0] > 0.1,
    wrong=_doors_are_told_apart,
)
def memory_can_gain_where_the_text_hides_the_state(share: float) -> Sides:
    """A sign names a door, "a" (with this probability) or "b"; half the time there is fog; the door named pays 1.

    At the door the text is always the same. Without memory the return is linear in the distribution at the door: at
    best it is the larger of the two probabilities. With memory it is 1 where the sign was read. The gain is half the
    smaller one.

    Source: reconstructed; a standard fact (S. P. Singh, T. Jaakkola, M. I. Jordan, 1994).

    Theory: Theorem 13.1, Equation 13.3.
    """
    return gain_of_memory(_signs(share, hidden=True)), min(share, 1 - share) / 2


def _signs(share: float, *, hidden: bool) -> FiniteGame:
    """States are (what is read of the sign, the door that it names), then ("door", the one that it names)."""
    named = {"a": share, "b": 1 - share}
    signs = [(read, word) for word in WORDS for read in (f"sign {word}", "fog")]
    doors = [("door", word) for word in WORDS]
    door_texts = {(place, word): place if hidden else f"{place} {word}" for place, word in doors}
    return FiniteGame(
        starts=Finite({(read, word): named[word] / 2 for read, word in signs}),
        moves={
            **{(read, word): _choice({"go": 0.0}, ("door", word)) for read, word in signs},
            **{door: _choice({w: float(w == door[1]) for w in WORDS}, "end") for door in doors},
        },
        texts={**{sign: sign[0] for sign in signs}, **door_texts},
        horizon=2,
    )


def _time_is_told(last: float) -> Sides:
    """The text tells the time left."""
    return gain_of_memory(with_time(_hurry(last))), last - 1


@statement(
    routes=_GAIN,
    example=1.5,
    cases=st.sampled_from((1.125, 1.25, 1.375, 1.5)),
    sweep=4,
    shows=lambda gain: gain[0] > 0.1,
    wrong=_time_is_told,
)
def memory_can_gain_where_the_text_hides_the_time_left(last: float) -> Sides:
    """In the one state "a" pays 1 and goes on, "b" pays more and ends the game; after two steps it is over anyway.

    With memory: "a", then "b", 1 + last. Without: if p is the probability of "a", the return is
    last + p + p^2 (1 - last), which for 1 < last <= 1.5 is greatest at p = 1: 2. The gain is last - 1.

    Source: reconstructed; a standard fact on finite horizons.

    Theory: Theorem 13.1.
    """
    return gain_of_memory(_hurry(last)), last - 1


def _the_other_forgets(share: float) -> Sides:
    """The other has no memory either, so that what it picked says nothing about what it will say."""
    return gain_of_memory(_picking(share, NO_MEMORY)), min(share, 1 - share)


@statement(
    routes=_GAIN,
    example=0.375,
    cases=_SHARES,
    sweep=5,
    shows=lambda gain: gain[0] > 0.1,
    wrong=_the_other_forgets,
)
def memory_can_gain_where_another_agent_remembers(share: float) -> Sides:
    """The other picks "a" (with this probability) or "b", the learner sees it, and later it pays to say the same.

    The other remembers its pick and says it again; the text tells the state and the time at every step, but the state
    does not hold the other's memory. With memory the return is 1; without it, at best the larger of the two
    probabilities. The gain is the smaller one.

    Source: reconstructed; see the game that fixed other agents leave.

    Theory: Theorem 13.1.
    """
    return gain_of_memory(_picking(share, LAST_TURN)), min(share, 1 - share)


def _picking(share: float, prompt: AbstractPrompt) -> OthersFixed:
    """The learner's game; at "shown" it acts without any effect, so that it has seen the pick."""
    game = FiniteGame(
        agents=("learner", "other"),
        starts=deterministic("pick"),
        moves={
            "pick": {
                (word,): deterministic(Transition(f"shown {word}", (0.0, 0.0))) for word in WORDS
            },
            **{
                f"shown {word}": {
                    (reply,): deterministic(Transition("guess", (0.0, 0.0))) for reply in WORDS
                }
                for word in WORDS
            },
            "guess": {
                (mine, yours): deterministic(Transition("end", (float(mine == yours), 0.0)))
                for mine, yours in itertools.product(WORDS, repeat=2)
            },
        },
        acting={"pick": ("other",), "shown a": ("learner",), "shown b": ("learner",)},
        horizon=3,
    )
    pick = {"a": share, "b": 1 - share}
    again = {f"pick\n{word}\nguess": {word: 1.0} for word in WORDS}
    other = tabular_policy(WORDS, dists={"pick": pick, "guess": pick, **again}, prompt=prompt)
    return OthersFixed(game=game, others={"other": other}, texts=WORDS)

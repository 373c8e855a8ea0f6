"""Potential-based shaping, r'_t = r_t + gamma Phi(s_{t+1}) - Phi(s_t), and its effect on group-relative advantages."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import attrs
import numpy as np
from hypothesis import strategies as st

from algorithms import group_relative_advantages
from algorithms.method.credit import reward_to_go_credit
from lap import LanguageAgentPolicy, TabularModel
from proofs.exact.enumeration import Trajectory, trajectories
from proofs.exact.gradients import Array
from proofs.small_games import WORDS, FiniteGame, State, TransitionDist, finite_games, random_policy
from proofs.statement import Sides, statement
from proofs.statements.memory import with_time
from tsmg import (
    AbstractInvalidRule,
    Ending,
    EpisodeGroup,
    Finite,
    Forfeit,
    PlayDefault,
    PlayRandomLegal,
    Transition,
    deterministic,
)

_ROUTES = ("trajectories of the shaped game", "trajectories of the game itself")


@final
@attrs.frozen(kw_only=True, eq=False)
class Shaped:
    """A game of one agent, a policy, and a potential.

    Attributes:
      game: a game of one agent.
      policy: the policy of its agent.
      potential: Phi(s) by state; 0 if the table has no state.
    """

    game: FiniteGame
    policy: LanguageAgentPolicy[TabularModel]
    potential: Mapping[State, float]

    def phi(self, state: State) -> float:
        """Phi(s)."""
        return self.potential.get(state, 0.0)

    @property
    def shaped_game(self) -> FiniteGame:
        """The same game with gamma Phi(s') - Phi(s) added to every reward of a transition."""
        moves = {
            state: {joint: self._shaped(state, dist) for joint, dist in table.items()}
            for state, table in self.game.moves.items()
        }
        return attrs.evolve(self.game, moves=moves)

    def _shaped(self, state: State, dist: TransitionDist) -> TransitionDist:
        table = {}
        for after, p in dist.enumerate():
            gained = self.game.discount * self.phi(after.state) - self.phi(state)
            table[Transition(after.state, (after.rewards_N[0] + gained,))] = p
        return Finite(table)

    def trajectories(self) -> tuple[Trajectory, ...]:
        """The trajectories of the game itself."""
        return trajectories(self.game, self.policy)

    def shaped_trajectories(self) -> tuple[Trajectory, ...]:
        """The trajectories of the shaped game: the same ones in the same order, with other rewards."""
        return trajectories(self.shaped_game, self.policy)


def _groups(played: Sequence[Trajectory]) -> Iterator[list[Trajectory]]:
    """Groups that share their start: all trajectories from it, and every three consecutive ones."""
    for alike in _by_start(played):
        yield alike
        yield from (alike[n : n + 3] for n in range(len(alike) - 2))


def _returns_G(group: Sequence[Trajectory]) -> list[float]:
    return [trajectory.episode.episode_return("player") for trajectory in group]


def _end(trajectory: Trajectory) -> State:
    """The game's own state at the end."""
    return trajectory.episode.final_state.state


# ---- episodes that terminate -----------------------------------------------------------------

_TREE = FiniteGame(
    starts=Finite({"x": 0.5, "y": 0.5}),
    moves={
        "x": {
            ("a",): deterministic(Transition("y", (1.0,))),
            ("b",): Finite({Transition("lost", (-1.0,)): 0.25, Transition("y", (0.0,)): 0.75}),
        },
        "y": {
            ("a",): deterministic(Transition("won", (2.0,))),
            ("b",): deterministic(Transition("lost", (0.0,))),
        },
    },
    discount=0.5,
    horizon=2,
    invalid_rule=PlayRandomLegal(penalty=0.25),
)


def _case(game: FiniteGame, potential: Mapping[State, float], seed: int = 0) -> Shaped:
    return Shaped(game=game, policy=random_policy(game, WORDS, seed=seed), potential=potential)


def _timed(game: FiniteGame) -> FiniteGame:
    """The time in the state, so that all episodes terminate; the texts are as before."""
    timed = with_time(game)
    return attrs.evolve(timed, texts={(s, t): game.texts.get(s, str(s)) for s, t in timed.moves})


def _cases(*rules: AbstractInvalidRule, terminate: bool) -> st.SearchStrategy[Shaped]:
    """Games of one of these rules, with a random potential in all states that are not terminal."""
    heights = st.sampled_from((-2.0, -0.5, 0.0, 1.0, 3.0))

    def case(game: FiniteGame, rule: AbstractInvalidRule, drawn: list[float], seed: int) -> Shaped:
        ruled = attrs.evolve(_timed(game) if terminate else game, invalid_rule=rule)
        return _case(ruled, dict(zip(ruled.moves, drawn, strict=False)), seed)

    drawn = st.lists(heights, min_size=4, max_size=4)
    return st.builds(case, finite_games(), st.sampled_from(rules), drawn, st.integers(0, 10_000))


_MOVING = (PlayDefault(action="a", penalty=0.5), PlayRandomLegal(penalty=0.5))


def _potential_at_the_end(case: Shaped) -> Sides:
    """The potential of terminal states is not 0."""
    ends = dict.fromkeys(_end(trajectory) for trajectory in case.trajectories())
    heights = {end: float(n) for n, end in enumerate(ends, start=1)}
    changed = attrs.evolve(case, potential={**case.potential, **heights})
    return _advantages(changed.shaped_trajectories()), _advantages(case.trajectories())


@statement(
    routes=_ROUTES,
    example=_case(_TREE, {"x": 1.0, "y": -2.0}),
    cases=_cases(*_MOVING, terminate=True),
    wrong=_potential_at_the_end,
)
def shaping_leaves_whole_episode_advantages_as_they_are(case: Shaped) -> Sides:
    """Group-relative advantages of whole episodes, with and without std, are those of the game itself.

    The shaping terms telescope: every return changes by -Phi(s_0), which members of a group share.

    Assumes: members of a group share their start; every episode ends in a terminal state, where Phi is 0; every step is
    a transition of the game (none stands still at a discount below 1, none is forfeited).
    Source: the potential of A. Y. Ng, D. Harada, S. Russell, 1999; for group advantages, reconstructed.

    Theory: Proposition 9.1.
    """
    return _advantages(case.shaped_trajectories()), _advantages(case.trajectories())


def _advantages(played: Sequence[Trajectory]) -> Array:
    """The advantages of all groups, with std and without, one after the other."""
    rows: list[Array] = []
    for group in _groups(played):
        returns_G = _returns_G(group)
        rows += [group_relative_advantages(returns_G, std=std) for std in ("population", "none")]
    return np.concatenate(rows)


def _not_discounted(case: Shaped) -> Sides:
    """The shift lacks the factor gamma^t."""
    return _to_go(case.shaped_trajectories()), _shifted(case, with_discount=False)


@statement(
    routes=("the credit rule on the shaped game", "sums over the game's records, shifted"),
    example=_case(_TREE, {"x": 1.0, "y": -2.0}),
    cases=_cases(*_MOVING, terminate=True),
    wrong=_not_discounted,
)
def shaping_shifts_the_reward_to_go_by_the_potential(case: Shaped) -> Sides:
    """The reward to go at step t, discounted from the first step, changes by -gamma^t Phi(s_t).

    So advantages per step do change, by what the members' states at step t are worth: a baseline of the state.

    Assumes: as for whole episodes; but groups need not share their start.
    Source: a standard fact (E. Wiewiora, 2003, on potentials as initial values); reconstructed.

    Theory: Proposition 9.1, Equation 9.6.
    """
    return _to_go(case.shaped_trajectories()), _shifted(case, with_discount=True)


def _to_go(played: Sequence[Trajectory]) -> list[float]:
    """The reward-to-go of every step by the credit rule, without a baseline."""
    relative = functools.partial(group_relative_advantages, std="none", baseline="none")
    group = EpisodeGroup(episodes=tuple(trajectory.episode for trajectory in played))
    credits_G = reward_to_go_credit(group, "player", relative=relative)
    return [credit for credits_T in credits_G for credit in credits_T]


def _shifted(case: Shaped, *, with_discount: bool) -> list[float]:
    """Rewards to go of the game itself, with the shift."""
    shifted = []
    for trajectory in case.trajectories():
        gamma, rewards_T = trajectory.episode.discount, trajectory.episode.rewards_T("player")
        for t, step in enumerate(trajectory.episode.steps):
            earned = sum(gamma**u * rewards_T[u] for u in range(t, len(rewards_T)))
            factor = gamma**t if with_discount else 1.0
            shifted.append(earned - factor * case.phi(step.state.state))
    return shifted


# ---- episodes that do not --------------------------------------------------------------------

_LOOP = FiniteGame(
    starts=deterministic(0),
    moves={
        0: {
            ("a",): deterministic(Transition(0, (1.0,))),
            ("b",): deterministic(Transition(1, (0.0,))),
        },
        1: {
            ("a",): deterministic(Transition(2, (2.0,))),
            ("b",): deterministic(Transition(0, (-1.0,))),
        },
    },
    discount=0.5,
    horizon=2,
    invalid_rule=PlayDefault(action="a", penalty=0.25),
)


def _potential_set_to_zero_at_the_horizon(case: Shaped) -> Sides:
    """The potential is set to 0 where episodes are cut, so that nothing is left over."""
    timed = _timed(case.game)
    potential = {(s, t): case.phi(s) for s, t in timed.moves}
    return _change(attrs.evolve(case, game=timed, potential=potential)), _left_over(case)


@statement(
    routes=("both games enumerated", "what is left over at the end"),
    example=_case(_LOOP, {0: 1.0, 1: -2.0}),
    cases=_cases(*_MOVING, terminate=False),
    shows=lambda change: float(np.abs(change).max()) > 0.1,
    wrong=_potential_set_to_zero_at_the_horizon,
)
def shaping_can_change_advantages_where_episodes_are_cut(case: Shaped) -> Sides:
    """At the horizon Phi(s_H) is left over: advantages without std change by gamma^H (Phi(s_H) - its group mean).

    An episode that terminates at step T leaves gamma^T Phi(s_T) = 0.

    Assumes: members of a group share their start; some episodes are truncated where Phi is not 0.
    Source: a standard caveat (M. Grzes, 2017, on episodic shaping); reconstructed for groups.

    Theory: Proposition 9.1, Equation 9.6.
    """
    return _change(case), _left_over(case)


_FORFEIT = Forfeit(penalty=0.5)


def _forfeits_as_truncation(case: Shaped) -> Sides:
    """The forfeited step counts as a transition, which adds a factor gamma to what is left over."""
    return _change(case), _left_over(case, forfeited_steps=0)


@statement(
    routes=("both games enumerated", "what is left over at the end"),
    example=_case(attrs.evolve(_TREE, invalid_rule=_FORFEIT), {"x": 1.0, "y": -2.0}),
    cases=_cases(_FORFEIT, terminate=True),
    shows=lambda change: float(np.abs(change).max()) > 0.1,
    wrong=_forfeits_as_truncation,
)
def forfeits_can_change_advantages_under_shaping(case: Shaped) -> Sides:
    """A forfeit at step T (from 0) ends the episode in a state of the game: gamma^T Phi(s_T) is left over.

    Advantages without std change by this minus its group mean. The rule's step is no transition of the game, so it adds
    no shaping of its own.

    Assumes: members of a group share their start; forfeits end some episodes where Phi is not 0.
    Source: this library.

    Theory: Proposition 9.1, Equation 9.6.
    """
    return _change(case), _left_over(case)


def _change(case: Shaped) -> Array:
    """How much shaping changes the advantages without std, where all trajectories from one start are one group."""
    shaped, plain = case.shaped_trajectories(), case.trajectories()
    rows = [
        group_relative_advantages(_returns_G(shaped_group), std="none")
        - group_relative_advantages(_returns_G(plain_group), std="none")
        for shaped_group, plain_group in zip(_by_start(shaped), _by_start(plain), strict=True)
    ]
    return np.concatenate(rows)


def _left_over(case: Shaped, *, forfeited_steps: int = 1) -> Array:
    """The potential at the end, discounted, relative to the group."""
    rows = []
    for group in _by_start(case.trajectories()):
        left_G = [
            case.game.discount ** _transitions(trajectory, forfeited_steps)
            * case.phi(_end(trajectory))
            for trajectory in group
        ]
        rows.append(np.array(left_G) - np.mean(left_G))
    return np.concatenate(rows)


def _transitions(trajectory: Trajectory, forfeited_steps: int) -> int:
    """The number of steps of a trajectory that are transitions of the game."""
    forfeited = trajectory.episode.ending is Ending.FORFEITED
    return len(trajectory.episode.steps) - (forfeited_steps if forfeited else 0)


def _by_start(played: Sequence[Trajectory]) -> list[list[Trajectory]]:
    starts = dict.fromkeys(trajectory.start for trajectory in played)
    return [[trajectory for trajectory in played if trajectory.start == start] for start in starts]

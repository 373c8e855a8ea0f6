"""Exact values of finite games: expected returns, best responses, NashConv.

Statements about play need no sampling where a game is explicit and small: the tree of what can happen is walked, and
every branch counts with its probability. Best responses remember all that they saw, so they are best among all
strategies, not only among memoryless ones.

Source: definitions of the theory of games; the walk over information keys is ours [ours].
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    InvalidArgumentError,
    NotEnumerableError,
    step_limit,
)

Game = AbstractExplicitGame[Any, Any]
Players = Mapping[str, AbstractPlayer[Any, Any]]
# A state and the probability of being there, as far as chance and the players with a given distribution decide.
Node = tuple[Any, float]

LARGEST_TREE = 1_000_000


class _Walk:
    """One walk through a game's tree; it counts the nodes and refuses to walk for ever."""

    def __init__(self, game: Game, players: Players, limit: int) -> None:
        self.game = game
        self.players = players
        self.limit = limit
        self.nodes = 0
        self.steps = step_limit(game)

    def starts(self) -> list[Node]:
        dist = self.game.initial_state_dist().pmf(self.limit)
        return [(state, float(p)) for state, p in dist.items()]

    def is_over(self, state: Any, t: int) -> bool:
        return t >= self.steps or self.game.is_terminal(state)

    def after(
        self, node: Node, fixed: Mapping[str, Any]
    ) -> Iterator[tuple[Any, float, tuple[float, ...]]]:
        """(state, probability, rewards) of all that can follow; agents that are not fixed draw."""
        state, weight = node
        acting = self.game.acting_agents(state)
        dists = [
            [(fixed[agent], 1.0)]
            if agent in fixed
            else [
                (a, float(p)) for a, p in self.players[agent].action_dist(state, agent).enumerate()
            ]
            for agent in acting
        ]
        for choice in itertools.product(*dists):
            joint = {agent: action for agent, (action, _) in zip(acting, choice, strict=True)}
            drawn = weight * math.prod(chance for _, chance in choice)
            if drawn == 0:
                continue
            for transition, p in self.game.transition_dist(state, joint).enumerate():
                self._count()
                yield transition.state, drawn * float(p), transition.rewards_N

    def _count(self) -> None:
        self.nodes += 1
        if self.nodes > self.limit:
            raise NotEnumerableError(
                f"{self.game.name}: its tree has more than {self.limit} nodes; a smaller game is needed"
            )


def expected_returns(
    game: Game, players: Players, *, limit: int = LARGEST_TREE
) -> dict[str, float]:
    """The expected discounted return of every agent, exactly (float64).

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every agent.
      limit: how many nodes of the tree are walked at most.

    Raises:
      InvalidArgumentError: an agent has no player.
      NotEnumerableError: the tree is larger than the limit, or a distribution is not finite.

    Example:
      >>> import games, tsmg
      >>> from games.kuhn_poker import KuhnEquilibrium
      >>> game = games.make("KuhnPoker-v0")
      >>> equilibrium = KuhnEquilibrium()
      >>> values = expected_returns(game, {"first": equilibrium, "second": equilibrium})
      >>> round(values["first"], 6)
      -0.055556
    """
    _check(game, players)
    walk = _Walk(game, players, limit)
    returns = dict.fromkeys(game.agents, 0.0)
    nodes, t = walk.starts(), 0
    while nodes:
        discount = game.discount**t
        nodes = [node for node in nodes if not walk.is_over(node[0], t)]
        following = []
        for node in nodes:
            for state, p, rewards_N in walk.after(node, {}):
                for agent, reward in zip(game.agents, rewards_N, strict=True):
                    returns[agent] += discount * p * reward
                following.append((state, p))
        nodes, t = following, t + 1
    return returns


def best_response_return(
    game: Game, players: Players, agent: str, *, limit: int = LARGEST_TREE
) -> float:
    """What an agent gets at most against the others' distributions, exactly (float64).

    What the agent knows is ``information_key`` at each of its moves, and it forgets nothing.

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every other agent.
      agent: who responds.
      limit: how many nodes of the tree are walked at most.

    Raises:
      InvalidArgumentError: an agent has no player.
      NotEnumerableError: the tree is larger than the limit, or a distribution is not finite.

    Example:
      >>> import games, tsmg
      >>> poker = games.KuhnPoker()
      >>> players = {"second": tsmg.UniformPlayer(poker)}
      >>> best_response_return(poker, players, "first")
      0.5
    """
    _check(game, {agent: None, **players})
    walk = _Walk(game, players, limit)
    number = game.agents.index(agent)

    def best(nodes: list[Node], t: int) -> float:
        """From here on, all nodes looking alike so far; weighted by how likely they are."""
        total = 0.0
        knowing: dict[Hashable, list[Node]] = {}
        others: list[Node] = []
        for node in nodes:
            state = node[0]
            if walk.is_over(state, t):
                continue
            if agent in game.acting_agents(state):
                knowing.setdefault(game.information_key(state, agent), []).append(node)
            else:
                others.append(node)
        if others:
            total += follow(others, {}, t)
        for alike in knowing.values():
            actions = game.legal_actions(alike[0][0], agent) or ()
            total += max(follow(alike, {agent: action}, t) for action in actions)
        return total

    def follow(nodes: list[Node], fixed: Mapping[str, Any], t: int) -> float:
        reward, following = 0.0, []
        for node in nodes:
            for state, p, rewards_N in walk.after(node, fixed):
                reward += game.discount**t * p * rewards_N[number]
                following.append((state, p))
        return reward + best(following, t + 1) if following else reward

    return best(walk.starts(), 0)


def nash_conv(game: Game, players: Players, *, limit: int = LARGEST_TREE) -> float:
    """How much the agents could gain in all by responding best; 0 at an equilibrium.

    Source: M. Lanctot et al., "A unified game-theoretic approach to multiagent reinforcement learning", 2017.

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every agent.
      limit: how many nodes of the tree are walked at most.

    Raises:
      InvalidArgumentError: an agent has no player.
      NotEnumerableError: the tree is larger than the limit, or a distribution is not finite.

    Example:
      >>> import games, tsmg
      >>> game = games.make("KuhnPoker-v0")
      >>> uniform = tsmg.UniformPlayer(game)
      >>> round(12 * nash_conv(game, {"first": uniform, "second": uniform}), 6)
      11.0
    """
    values = expected_returns(game, players, limit=limit)
    return sum(
        best_response_return(game, players, agent, limit=limit) - values[agent]
        for agent in game.agents
    )


def _check(game: Game, players: Mapping[str, Any]) -> None:
    missing = [agent for agent in game.agents if agent not in players]
    if missing:
        raise InvalidArgumentError(f"'players' must name every agent (missing {missing})")

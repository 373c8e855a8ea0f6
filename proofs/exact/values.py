"""Exact values of finite games: expected returns, best responses, NashConv.

A small explicit game needs no sampling: its tree is traversed, and every branch counts with its probability. Best
responses have perfect recall, so they are best among all strategies, not only among memoryless ones.

Source: definitions of the theory of games; the walk over information keys is ours [ours].
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from tsmg import (
    AbstractExplicitGame,
    AbstractPlayer,
    InvalidArgumentError,
    NotEnumerableError,
    step_limit,
)
from tsmg.closure import explicit

S = TypeVar("S", bound=Hashable)
A = TypeVar("A", bound=Hashable)

LARGEST_TREE = 1_000_000


class _Walk(Generic[S, A]):
    """One walk through a game's tree, whose nodes are counted, up to a limit.

    A node is a state with the probability of being there, as far as chance and the players with a given distribution
    decide.

    Args:
      game: an explicit game with finite distributions.
      players: the players whose actions are drawn.
      limit: greatest number of nodes.
      responding: name of an agent that needs no player: wherever it acts, its action is fixed.

    Raises:
      InvalidArgumentError: another agent has no player.
      NotEnumerableError: the game can only be sampled.
    """

    def __init__(
        self,
        game: AbstractExplicitGame[S, A],
        players: Mapping[str, AbstractPlayer[S, A]],
        limit: int,
        *,
        responding: str | None = None,
    ) -> None:
        missing = [agent for agent in game.agents if agent not in {*players, responding}]
        if missing:
            raise InvalidArgumentError(f"'players' must name every agent (missing {missing})")
        self.game = explicit(game)
        self.players = players
        self.limit = limit
        self.nodes = 0
        self.steps = step_limit(game)

    def starts(self) -> list[tuple[S, float]]:
        dist = self.game.initial_state_dist().pmf(self.limit)
        return [(state, float(p)) for state, p in dist.items()]

    def is_over(self, state: S, t: int) -> bool:
        return t >= self.steps or self.game.is_terminal(state)

    def after(
        self, node: tuple[S, float], fixed: Mapping[str, A]
    ) -> Iterator[tuple[S, float, tuple[float, ...]]]:
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
                self.nodes += 1
                if self.nodes > self.limit:
                    raise NotEnumerableError(
                        f"{self.game.name}: its tree has more than {self.limit} nodes; a smaller game is needed"
                    )
                yield transition.state, drawn * float(p), transition.rewards_N


def expected_returns(
    game: AbstractExplicitGame[S, A],
    players: Mapping[str, AbstractPlayer[S, A]],
    *,
    limit: int = LARGEST_TREE,
) -> dict[str, float]:
    """The expected discounted return of every agent, exactly (float64).

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every agent.
      limit: greatest number of nodes of the tree.

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


def _listed_actions(game: AbstractExplicitGame[S, A], state: S, agent: str) -> tuple[A, ...]:
    actions = game.legal_actions(state, agent)
    if not actions:
        raise NotEnumerableError(f"{game.name}: no legal actions are listed for {agent}")
    return actions


def best_response_return(
    game: AbstractExplicitGame[S, A],
    players: Mapping[str, AbstractPlayer[S, A]],
    agent: str,
    *,
    limit: int = LARGEST_TREE,
) -> float:
    """The greatest expected return of an agent against the others' distributions, exactly (float64).

    What the agent knows is ``information_key`` and the step at each of its moves; it has perfect recall.

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every other agent.
      agent: name of the agent that responds.
      limit: greatest number of nodes of the tree.

    Raises:
      InvalidArgumentError: an agent has no player.
      NotEnumerableError: the tree is larger than the limit, a distribution is not finite, or the agent's legal
        actions are not listed.

    Example:
      >>> import games, tsmg
      >>> poker = games.KuhnPoker()
      >>> players = {"second": tsmg.UniformPlayer(poker)}
      >>> best_response_return(poker, players, "first")
      0.5
    """
    walk = _Walk(game, players, limit, responding=agent)
    number = game.agents.index(agent)

    def best(nodes: list[tuple[S, float]], t: int) -> float:
        """The greatest reward from step t on, weighted by the probabilities of these indistinguishable nodes."""
        total = 0.0
        by_key: dict[Hashable, list[tuple[S, float]]] = {}
        others: list[tuple[S, float]] = []
        for node in nodes:
            state = node[0]
            if walk.is_over(state, t):
                continue
            if agent in game.acting_agents(state):
                by_key.setdefault(game.information_key(state, agent), []).append(node)
            else:
                others.append(node)
        if others:
            total += follow(others, {}, t)
        for alike in by_key.values():
            actions = _listed_actions(game, alike[0][0], agent)
            total += max(follow(alike, {agent: action}, t) for action in actions)
        return total

    def follow(nodes: list[tuple[S, float]], fixed: Mapping[str, A], t: int) -> float:
        reward, following = 0.0, []
        for node in nodes:
            for state, p, rewards_N in walk.after(node, fixed):
                reward += game.discount**t * p * rewards_N[number]
                following.append((state, p))
        return reward + best(following, t + 1) if following else reward

    return best(walk.starts(), 0)


def nash_conv(
    game: AbstractExplicitGame[S, A],
    players: Mapping[str, AbstractPlayer[S, A]],
    *,
    limit: int = LARGEST_TREE,
) -> float:
    """The total gain of the agents from playing best responses; 0 at an equilibrium.

    Source: M. Lanctot et al., "A unified game-theoretic approach to multiagent reinforcement learning", 2017.

    Args:
      game: an explicit game with finite distributions.
      players: the distribution of every agent.
      limit: greatest number of nodes of the tree.

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

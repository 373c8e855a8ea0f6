"""The tree of the running example of the theory, drawn from its game, its policy and its group."""

import functools
import runpy
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
from matplotlib.axes import Axes

from algorithms import group_relative_advantages
from tsmg import ActionText, ClosedGame, ClosedState, Parsed, ParseFailure

AGENT = "walker"
NO_TEXT = ParseFailure("the reply is empty")


@attrs.frozen(kw_only=True)
class Node:
    """A state of the closed game after some replies, or a move of chance.

    Attributes:
      name: of the state, or ``?`` where chance moves.
      path: the agent's replies so far, the empty one included.
      earned: the return so far.
      probability: of coming here under the policy.
      branches: what an edge says, and where it leads; none where the episode is over.
      ending: ``terminated`` or ``truncated`` where it is.
    """

    name: str
    path: tuple[str, ...]
    earned: float
    probability: Fraction
    branches: tuple[tuple[str, "Node"], ...] = ()
    ending: str = ""


@functools.cache
def running_example() -> Mapping[str, Any]:
    """The names of the running example."""
    (file,) = Path(__file__).parents[1].rglob("running_example.py")
    return runpy.run_path(str(file))


def tree() -> Node:
    """The whole tree of the running example, from its start."""
    closed: ClosedGame[Any, Any] = ClosedGame(running_example()["GAME"])
    return _grown(
        closed, closed.close("west"), Node(name="", path=(), earned=0.0, probability=Fraction(1))
    )


def _grown(closed: ClosedGame[Any, Any], state: ClosedState[Any], here: Node) -> Node:
    """The node of a state that is reached as ``here`` says."""
    game = closed.game
    if closed.is_terminal(state) or len(here.path) == game.horizon:
        ending = "terminated" if closed.is_terminal(state) else "truncated"
        return attrs.evolve(here, name=str(state.state), ending=ending)
    texts = (closed.game.observation_text(state.state, AGENT), closed.feedback_text(state, AGENT))
    said = running_example()["DISTS"]["\n".join(filter(None, texts))]
    branches = []
    for word in ("take", "go", ""):
        share = Fraction(said.get(word, 0.0)).limit_denominator()
        branches.append(_after(closed, state, here, word, share))
    return attrs.evolve(here, name=str(state.state), branches=tuple(branches))


def _after(
    closed: ClosedGame[Any, Any], state: ClosedState[Any], here: Node, word: str, share: Fraction
) -> tuple[str, Node]:
    """What the edge of a word says, and the node that it leads to: of chance where more than one thing can follow."""
    outcome = closed.read(state, AGENT, ActionText(word) if word else NO_TEXT)
    shown = word if isinstance(outcome, Parsed) else "invalid"
    path, reached = (*here.path, word), here.probability * share
    ways = []
    for move, p in closed.transition_dist(state, {AGENT: outcome}).enumerate():
        paid = move.rewards_N[0] + move.penalties_N[0]
        then = Node(
            name="", path=path, earned=here.earned + paid, probability=reached * Fraction(p)
        )
        ways.append((f"{paid:g}", Fraction(p), _grown(closed, move.state, then)))
    if len(ways) == 1:
        ((paid_text, _, node),) = ways
        return f"{shown} {paid_text}", node
    branches = tuple((f"{p}: {paid_text}", node) for paid_text, p, node in ways)
    chance = Node(name="?", path=path, earned=here.earned, probability=reached, branches=branches)
    return shown, chance


def leaves(node: Node) -> list[Node]:
    """The ends of the tree, in the order in which they are drawn."""
    return [leaf for _, child in node.branches for leaf in leaves(child)] or [node]


def rules_label(leaf: Node) -> str:
    """The return, and whether time was up."""
    return f"R = {leaf.earned:g}" + (", time is up" if leaf.ending == "truncated" else "")


def policy_label(leaf: Node) -> str:
    """The name of the trajectory, its probability and its return; nothing where the policy never comes."""
    return f"{_name(leaf)}: p = {leaf.probability}, R = {leaf.earned:g}" if leaf.probability else ""


def advantage_label(leaf: Node) -> str:
    """The advantage in the group of the running example; nothing where no member came."""
    example = running_example()
    own = [example["find"](leaf.path, leaf.earned).episode] if leaf.probability else []
    members = [n for n, episode in enumerate(example["GROUP"].episodes) if episode in own]
    if not members:
        return ""
    advantages_G = group_relative_advantages(example["GROUP"].returns_G(AGENT), eps=0.0)
    value = Fraction(float(advantages_G[members[0]])).limit_denominator(100)
    return f"{_name(leaf)}{' twice' if len(members) == 2 else ''}: A = {value}"


def _name(leaf: Node) -> str:
    found = running_example()["find"](leaf.path, leaf.earned)
    return next(n for n, one in running_example()["TRAJECTORIES"].items() if one is found)


def draw(axes: Axes, label: Callable[[Node], str], colours: tuple[str, str, str]) -> None:
    """Draw the tree from left to right; what has no label is faint.

    Args:
      axes: what is drawn on.
      label: what stands at a leaf.
      colours: of lines and text, of the agent's nodes, of chance's nodes.
    """
    root = tree()
    rows = {id(leaf): -float(n) for n, leaf in enumerate(leaves(root))}
    _draw_node(axes, root, 0.0, rows, label, colours)
    axes.set(xlim=(-0.3, 4.6), ylim=(0.5 - len(rows), 0.6))
    axes.axis("off")


def _draw_node(
    axes: Axes,
    node: Node,
    x: float,
    rows: dict[int, float],
    label: Callable[[Node], str],
    colours: tuple[str, str, str],
) -> float:
    """Draw what is below a node, then the node; the height at which it stands."""
    ink, agent, chance = colours
    ends = [_draw_node(axes, child, x + 1, rows, label, colours) for _, child in node.branches]
    y = sum(ends) / len(ends) if ends else rows[id(node)]
    for (text, child), end in zip(node.branches, ends, strict=True):
        alpha = 1.0 if any(map(label, leaves(child))) else 0.25
        axes.plot((x, x + 0.3, x + 1), (y, end, end), color=ink, linewidth=1, alpha=alpha, zorder=1)
        axes.text(x + 0.62, end + 0.08, text, ha="center", fontsize=9, color=ink, alpha=alpha)
    if node.branches:
        shape = {"s": 110, "marker": "D" if node.name == "?" else "o"}
        axes.scatter([x], [y], color=chance if node.name == "?" else agent, zorder=2, **shape)
        name = "" if node.name == "?" else node.name
        axes.text(x, y - 0.55, name, ha="center", fontsize=9, color=ink)
    else:
        axes.text(x + 0.08, y, label(node), va="center", fontsize=9, color=ink)
    return y

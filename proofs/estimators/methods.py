"""Methods by name, exactly: their estimates on five small games, and the weight that each gives to a start.

Every preset of ``algorithms.method.presets`` is analysed as a run would use it, with groups of G episodes of which K
are kept, at the first optimiser step on a batch. Clipping and ratios have no effect there, and KL and entropy are left
out. A method that compares over a batch is analysed in batches of eight groups, which are drawn. Rules with a state are
analysed at their first update.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import games
from algorithms import Estimator, MSGRPOConfig
from algorithms.method.presets import PRESETS
from proofs.estimators.batches import groups_are_apart
from proofs.estimators.curricula import SEEN, UPDATES, curriculum_rows
from proofs.estimators.laboratory import EstimatorAnalysis, analyse_estimator
from proofs.exact.enumeration import trajectories
from proofs.exact.gradients import TrajectoryDistribution
from proofs.small_games import FiniteGame, choice_game, tabular_policy
from tsmg import (
    AbstractExplicitGame,
    Facts,
    Finite,
    PlayerPolicy,
    Transition,
    UniformPlayer,
    deterministic,
)

RATES: Final = (0.05, 0.2, 0.5, 0.8, 0.95)
_GROUPS: Final = 8  # of a batch over which advantages are compared

CURRICULA: Final = (
    f"starts that are won with probability q, chosen: the estimate after {SEEN} episodes of each, over the norm of the "
    f"true gradient; and how often each is won after {UPDATES} expected updates"
)

# By title, a table each: a figure of an analysis.
FIGURES: Final[Mapping[str, Callable[[EstimatorAnalysis], float]]] = {
    "cosine between the mean estimate and the true gradient": lambda found: found.cosine,
    "bias, over the norm of the true gradient": lambda found: _relative(_size(found.bias_D), found),
    "standard deviation, over the same": lambda found: _relative(found.variance**0.5, found),
    "signal-to-noise ratio per 1000 generated tokens": lambda found: (
        1000 * found.snr_per_generated_token
    ),
    "signal-to-noise ratio per 1000 trained tokens": lambda found: (
        1000 * found.snr_per_trained_token
    ),
}


def example_games() -> dict[str, TrajectoryDistribution]:
    """The trajectory distributions of the five games, each under one policy, by name.

    One choice whose episodes last 1, 1 or 20 steps; a corridor of three steps that must all be right; Frozen Lake on 2
    x 2 cells; a bet on a card of which only the colour is seen; and three doors that look alike.
    """
    forced = {str(("c", n)): {"on": 1.0} for n in range(1, 20)}
    lake = games.FrozenLake(size=2, horizon=2)
    steps = {f"step {t}": {"right": p, "wrong": 1 - p} for t, p in enumerate((0.8, 0.7, 0.6))}
    return {
        "one step": _played(
            choice_game({"a": 0.5, "b": 0.4, "c": 1.0}, lengths={"c": 20}),
            {"choose": {"a": 0.6, "b": 0.2, "c": 0.2}, **forced},
        ),
        "corridor": _played(_corridor(3), steps),
        "lake": _played(lake, _drawn_dists(lake)),
        "hidden card": _played(
            _hidden_card(),
            {
                f"a {colour} card": {"bet": p, "pass": 1 - p}
                for colour, p in (("red", 0.4), ("blue", 0.6))
            },
        ),
        "repeated text": _played(_doors(), {"a door": {"open": 0.3, "pass": 0.5, "leave": 0.2}}),
    }


def analysed(
    dist: TrajectoryDistribution, config: MSGRPOConfig, *, samples: int = 1000
) -> EstimatorAnalysis:
    """The analysis of a method, in batches of one group if its groups do not interact.

    Args:
      dist: the trajectory distribution.
      config: the settings of the method.
      samples: number of batches that are drawn where they do.
    """
    apart = groups_are_apart(Estimator.of(config, dist.game.facts), config)
    changed = attrs.evolve(config, groups=1 if apart else _GROUPS)
    return analyse_estimator(dist, changed, samples=samples)


def method_config(name: str, *, group_size: int, kept: int) -> MSGRPOConfig:
    """The settings of a preset, with a size of groups and a number of kept episodes.

    Args:
      name: of the preset.
      group_size: G.
      kept: K.
    """
    settings = {"group_size": group_size, "kept_episodes": kept, **PRESETS[name].settings}
    return MSGRPOConfig(**settings)


def start_weight(config: MSGRPOConfig, rate: float, *, samples: int = 1000) -> float:
    """kappa(q): the expected estimate, as a multiple of grad q, on a start that is won with probability q.

    If advantages are compared over a batch, all its groups are on such starts.

    Args:
      config: the settings.
      rate: q.
      samples: number of batches, where these are drawn.
    """
    return _on_starts(config, rate, samples=samples).scale


def tables(
    *,
    group_size: int = 4,
    kept: int = 2,
    names: Sequence[str] = tuple(PRESETS),
    report: Callable[[str], None] = lambda name: None,
) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """A table of each figure on the games, of the weights of starts, and of curricula: title, headline, and rows.

    Args:
      group_size: G.
      kept: K.
      names: of presets.
      report: called with the name of what is computed next.
    """
    configs = {name: method_config(name, group_size=group_size, kept=kept) for name in names}
    dists = example_games()
    found: dict[str, list[EstimatorAnalysis]] = {name: [] for name in configs}
    for game, dist in dists.items():
        for name, config in configs.items():
            report(f"{game}: {name}")
            found[name].append(analysed(dist, config))
    for title, figure in FIGURES.items():
        rows = [("method", *dists)]
        for name, analyses in found.items():
            rows.append((name, *(_cell(figure(one), one) for one in analyses)))
        yield title, rows
    rows = [("method", *(f"q = {rate:g}" for rate in RATES))]
    for name, config in configs.items():
        report(f"weight of starts: {name}")
        weights = (_on_starts(config, rate) for rate in RATES)
        rows.append((name, *(_cell(one.scale, one) for one in weights)))
    yield "weight of a start that is won with probability q", rows
    report("starts that are chosen")
    yield CURRICULA, list(curriculum_rows(configs, RATES))


def plot_weights(
    file: str | Path, names: Sequence[str] = tuple(PRESETS), *, group_size: int = 4, kept: int = 2
) -> None:
    """Draw kappa(q) of each method, relative to its own weight at q = 1/2, on a logarithmic scale.

    Args:
      file: the picture's file; its suffix gives the format.
      names: of presets; methods of one curve share a line.
      group_size: G.
      kept: K.
    """
    rates = np.linspace(0.04, 0.96, 13)
    curves: dict[tuple[float, ...], list[str]] = {}
    for name in names:
        config = method_config(name, group_size=group_size, kept=kept)
        weights = np.array([start_weight(config, rate, samples=500) for rate in rates])
        curves.setdefault(tuple((weights / weights[6]).round(2)), []).append(name)
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for n, (weights_S, members) in enumerate(curves.items()):
        style = ("-", "--", "-.", ":")[n % 4]
        axis.semilogy(rates, weights_S, style, label=", ".join(members))
    axis.set_xlabel("success rate q of the start")
    axis.set_ylabel("weight of its gradient, relative to q = 1/2")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def _on_starts(config: MSGRPOConfig, rate: float, *, samples: int = 1000) -> EstimatorAnalysis:
    """The analysis of one choice that succeeds at a rate."""
    game = choice_game({"win": 1.0, "lose": 0.0})
    dist = _played(game, {"choose": {"win": rate, "lose": 1 - rate}})
    return analysed(dist, config, samples=samples)


def _cell(figure: float, found: EstimatorAnalysis) -> str:
    return f"{'' if found.exact else '~'}{figure:.2f}"


def _played(
    game: AbstractExplicitGame[Any, Any], dists: Mapping[str, Mapping[str, float]]
) -> TrajectoryDistribution:
    """The trajectories of a policy with these distributions of words by prompt."""
    words = tuple(dict.fromkeys(word for dist in dists.values() for word in dist))
    return TrajectoryDistribution.of(game, tabular_policy(words, dists=dists))


def _drawn_dists(game: AbstractExplicitGame[Any, Any]) -> dict[str, dict[str, float]]:
    """For each text that an agent can read, drawn chances of the actions that it can take there."""
    rng = np.random.default_rng(0)
    actions: dict[str, dict[str, float]] = {}
    for trajectory in trajectories(game, PlayerPolicy(game, UniformPlayer(game))):
        for agent in game.agents:
            for own in trajectory.episode.agent_steps(agent):
                actions.setdefault(own.observation.text, {})[own.reply.text] = 0.0
    for chances in actions.values():
        drawn = rng.dirichlet(np.full(len(chances), 3.0))
        chances.update(zip(sorted(chances), drawn.tolist(), strict=True))
    return actions


def _size(vector: Any) -> float:
    return float(np.linalg.norm(vector))


def _relative(size: float, found: EstimatorAnalysis) -> float:
    return size / _size(found.dist.gradient_D)


def _paid(state: object, reward: float = 0.0) -> Finite[Transition[Any]]:
    return deterministic(Transition(state, (reward,)))


def _corridor(steps: int) -> FiniteGame:
    """So many steps that all must be right; an episode lasts them all."""

    def after(t: int, right: bool) -> Finite[Transition[Any]]:
        return _paid((t + 1, right), float(right and t + 1 == steps))

    moves: dict[Any, Mapping[tuple[str, ...], Finite[Transition[Any]]]] = {
        (t, right): {("right",): after(t, right), ("wrong",): after(t, False)}
        for t in range(steps)
        for right in ((True, False) if t else (True,))
    }
    texts = {state: f"step {state[0]}" for state in moves}
    return FiniteGame(starts=deterministic((0, True)), moves=moves, texts=texts)


def _hidden_card() -> FiniteGame:
    """A bet on a card whose colour alone is seen: high wins 2, low loses 1; passing pays nothing."""
    shares = {
        ("red", "high"): 0.35,
        ("red", "low"): 0.15,
        ("blue", "high"): 0.1,
        ("blue", "low"): 0.4,
    }
    return FiniteGame(
        starts=Finite(shares),
        moves={
            card: {
                ("bet",): _paid("end", 2.0 if card[1] == "high" else -1.0),
                ("pass",): _paid("end"),
            }
            for card in shares
        },
        texts={card: f"a {card[0]} card" for card in shares},
        facts=Facts(perfect_information=False),
    )


def _doors() -> FiniteGame:
    """Three doors that look alike: opening the second pays 1, leaving pays 0.4, passing all of them nothing."""
    prizes = {1: 0.0, 2: 1.0, 3: 0.0}
    return FiniteGame(
        starts=deterministic(1),
        moves={
            n: {
                ("open",): _paid("end", prize),
                ("pass",): _paid(n + 1),
                ("leave",): _paid("end", 0.4),
            }
            for n, prize in prizes.items()
        },
        texts=dict.fromkeys(prizes, "a door"),
    )

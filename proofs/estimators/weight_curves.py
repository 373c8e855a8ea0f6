"""Weights of starts over their success rate, for ten ways to use a group: what ``tsmg start-weights`` shows."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from algorithms import MSGRPOConfig
from proofs.estimators.start_weights import Design, pods, start_weights

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
COLOURS = ("#000000", "#2f7fc1", "#d9730d")
_STYLES = ("-", "--", ":", "-.")

Family = Mapping[str, MSGRPOConfig | Design]


def ten_designs(*, size: int = 16, kept: int = 8) -> dict[str, Family]:
    """Ten designs (nine if K < 4) by family and name: full groups, draws by |A|, and draws for the greatest variance.

    Uniform draws and corrected ones have the weights of the full groups.

    Args:
      size: G.
      kept: K, in 2..G; of two designs half of it and 1.
    """
    plain = MSGRPOConfig(group_size=size, kept_episodes=kept)
    config = functools.partial(attrs.evolve, plain)

    return {
        "full groups": {
            "no std": config(sampling="all", std="none"),
            "leave-one-out, no std": config(sampling="all", std="none", baseline="leave_one_out"),
            "std": config(sampling="all", std="population"),
        },
        "drawn by |A|": {
            f"no std, K = {kept}": config(std="none"),
            f"std, K = {kept}": config(std="population"),
            f"std, K = {kept // 2}": config(std="population", kept_episodes=kept // 2),
            "std, K = 1": config(std="population", kept_episodes=1),
            f"std, K = {kept}, alpha 2": config(std="population", alpha=2.0),
        },
        "greatest variance (PODS)": {
            f"as published, K = {kept}": pods(size, kept),
            f"advantages of the group, K = {kept}": pods(size, kept, renormalised=False),
        },
    }


def weight_rows(
    families: Mapping[str, Family], rates: Sequence[float] = RATES
) -> list[tuple[str, ...]]:
    """The weights as a table of text: a headline, and a row per design."""
    rows = [("design", *(f"q {q:g}" for q in rates))]
    for family, designs in families.items():
        for name, design in designs.items():
            weights_S = start_weights(design, rates)
            rows.append((f"{family}: {name}", *(f"{weight:.2f}" for weight in weights_S)))
    return rows


def draw_weights(
    families: Mapping[str, Family],
    *,
    colours: Sequence[str] = COLOURS,
    size: tuple[float, float] = (5.2, 9.5),
) -> Figure:
    """A panel per family: the weight over the success rate, on a logarithmic scale.

    Args:
      families: designs by family and name.
      colours: of the lines, one after the other.
      size: width and height. Unit: inches.
    """
    rates = np.linspace(0.005, 0.995, 199)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(families), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (family, designs) in zip(panels, families.items(), strict=True):
        for n, (name, design) in enumerate(designs.items()):
            axes.semilogy(
                rates,
                start_weights(design, rates),
                _STYLES[n // len(colours) if len(designs) > len(_STYLES) else n],
                color=colours[n % len(colours)],
                label=name,
            )
        axes.set(title=family, ylabel="weight of the start")
        axes.legend(loc="upper center", fontsize=9, frameon=False)
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("success rate of the start")
    return figure


def plot_weights(families: Mapping[str, Family], file: str | Path) -> None:
    """Draw the panels into a file; its suffix gives the format."""
    draw_weights(families).savefig(file, dpi=110)

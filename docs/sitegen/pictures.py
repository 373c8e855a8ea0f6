"""Pictures that are drawn as the site is built, in the text's own colour, so that they read on light and on dark.

``python docs/sitegen/pictures.py runs/NAME`` keeps what the picture of a run needs in ``docs/pictures``, and draws the
README's picture anew.
"""

import functools
import io
import json
import re
import sys
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import games
from algorithms.analysis.plots import draw_run
from algorithms.runs.records import read_lines
from algorithms.runs.writer import METRICS
from proofs import analyse_estimator
from proofs.estimators.aaw_map import draw_map, read_csv
from proofs.estimators.comparison import ESTIMATORS, plain_config, word_policy_distribution
from proofs.estimators.risk import boundary, draw_boundary, limit_weights
from proofs.estimators.weight_curves import draw_weights, ten_designs
from proofs.statements.cases import choice_case
from sitegen import experiment
from sitegen import game_tree as game_tree_of
from sitegen.drawing import BLUE, INK, ORANGE, blank_figure
from tsmg import Finite

DATA = Path(__file__).parents[1] / "pictures" / "default_run.jsonl"
REAL_MODEL = DATA.parent / "real_model.jsonl"  # three runs of docs/how_to/real_checkpoints.md
OVERVIEW = DATA.parent / "overview.png"
AAW_MAP = Path(__file__).parents[1] / "theory/aaw_map.csv"
WIDE = 500  # points: a wider picture keeps its size on a phone, and scrolls
SHOWN = ("update", "reward", "invalid_rate", "entropy", "eval/reward", "eval_greedy/reward")
SETTINGS = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "legend.facecolor": "none",
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.titlesize": 11,
}


def kept(run: Path) -> str:
    """The lines of a run's metrics that its picture shows, shortened."""
    lines = [
        {key: round(record[key], 4) for key in SHOWN if record.get(key) is not None}
        for record in read_lines(run / METRICS)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def default_run() -> Figure:
    """The curve of a default run, by what draws ``curve.png``."""
    return draw_run(read_lines(DATA), ceiling=1.0, size=(5, 7))


def overview() -> Figure:
    """The README's picture: a step of a game, and beside it the curves of a pretrained model."""
    figure = blank_figure((10, 4.2))
    scheme, curve = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_step(scheme)
    _draw_real_curves(curve)
    return figure


def one_step() -> Figure:
    """One step of a game, from its text to the reward."""
    figure = blank_figure((5.4, 4.0))
    _draw_step(figure.subplots())
    return figure


def real_model() -> Figure:
    """The curves of a pretrained model."""
    figure = blank_figure((4.6, 4.0))
    _draw_real_curves(figure.subplots())
    return figure


def _draw_step(scheme: Axes) -> None:
    scheme.axis("off")
    scheme.set(xlim=(0, 10), ylim=(0, 10))
    boxes = (
        (2.0, 8.0, "game\n\nP F F H\nF F F F\nF H F F\nF F F G", BLUE),
        (8.0, 8.0, "prompt\n\nYou cross a\nfrozen lake ...\nP F F H ...", INK),
        (8.0, 2.2, "language model\n\n<action>\n  down\n</action>", ORANGE),
        (2.0, 2.2, "parser\n\nan action of\nthe game, or\ninvalid", INK),
    )
    for x, y, text, colour in boxes:
        box = {
            "boxstyle": "round,pad=0.5",
            "facecolor": "none",
            "edgecolor": colour,
            "linewidth": 1.4,
        }
        scheme.text(
            x,
            y,
            text,
            ha="center",
            va="center",
            family="monospace",
            fontsize=9,
            linespacing=1.2,
            bbox=box,
        )
    arrows = (
        ((3.7, 8.0), (6.2, 8.0), "text", (4.95, 8.35)),
        ((8.0, 5.7), (8.0, 4.4), "tokens", (8.85, 5.0)),
        ((6.4, 2.2), (3.8, 2.2), "reply", (5.1, 2.55)),
        ((2.0, 4.4), (2.0, 5.6), "action", (1.1, 5.0)),
    )
    for start, end, label, place in arrows:
        scheme.annotate(
            "", end, start, arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.3}
        )
        scheme.text(*place, label, ha="center", va="center", fontsize=9)
    story = (
        "the game pays rewards;\nthe return of each episode\nis compared within a group,\n"
        "and all its replies get\nthe episode's advantage"
    )
    scheme.text(5.0, 5.0, story, ha="center", va="center", fontsize=9)


def _draw_real_curves(axes: Axes) -> None:
    """Success while training, and on held-out maps, of each seed."""
    records = read_lines(REAL_MODEL)
    for seed, colour in enumerate((BLUE, ORANGE, INK)):
        own = [record for record in records if record["seed"] == seed]
        for name, style in (("success_rate", "-"), ("eval/success_rate", "o")):
            points = [(r["update"], r[name]) for r in own if name in r]
            label = "training maps" if style == "-" else "held-out maps"
            axes.plot(
                *zip(*points, strict=True),
                style,
                color=colour,
                linewidth=1,
                label=label if seed == 0 else None,
            )
    axes.set(xlabel="update", ylabel="success", ylim=(0.3, 1.01))
    axes.set_title("SmolLM2-135M-Instruct, three seeds")
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.3)


def kuhn_estimators() -> Figure:
    """How far from the true gradient, and how noisy: estimators on Kuhn poker."""
    dist = word_policy_distribution(games.make("KuhnPoker-v0"))
    wanted = (
        "group mean",
        "leave-one-out",
        "no baseline",
        "divided by std",
        "reward-to-go",
        "turn by turn",
        "step weighting",
    )
    found = {
        name: analyse_estimator(
            dist, plain_config(group_size=2, kept_episodes=1, **ESTIMATORS[name])
        )
        for name in wanted
    }
    return _bars(
        {name: (one.cosine, one.snr) for name, one in found.items()},
        ("cosine with the true gradient", "signal-to-noise ratio of one group"),
    )


def division() -> Figure:
    """The direction that dividing by the deviation takes, over how often a risky arm pays."""
    shares = [n / 20 for n in range(1, 13)]
    figure = blank_figure((5, 3.4))
    axes = figure.subplots()
    for std, colour, marker in (("none", BLUE, "o"), ("population", ORANGE, "s")):
        cosines = [risky_cosine(share, std) for share in shares]
        axes.plot(shares, cosines, color=colour, marker=marker, label=f"std {std}")
    axes.axvline(0.2, color=INK, linestyle=":", linewidth=1)
    axes.set_xlabel("how often the risky arm pays 5 (above 0.2 it is better)")
    axes.set_ylabel("cosine with the true gradient")
    axes.legend(loc="center right")
    axes.grid(alpha=0.3)
    return figure


def risky_cosine(share: float, std: str) -> float:
    """The direction of the estimate where a risky arm pays 5 so often and a safe one pays 1."""
    arms = {"risky": Finite({5.0: share, 0.0: 1 - share}), "safe": 1.0}
    case = choice_case(arms, {"risky": 0.5, "safe": 0.5}, size=4)
    return analyse_estimator(case.dist, case.config(std=std, eps=0.0)).cosine


def weights_of_starts() -> Figure:
    """How much a start's gradient counts, over its success rate."""
    return draw_weights(ten_designs(), colours=(INK, BLUE, ORANGE), size=(5, 9))


def game_tree(label: Callable[[game_tree_of.Node], str]) -> Figure:
    """The tree of the running example, with this at each leaf."""
    figure = blank_figure((5.6, 4.2))
    game_tree_of.draw(figure.subplots(), label, (INK, BLUE, ORANGE))
    return figure


def risk() -> Figure:
    """From what chance of a prize on a risky arm is preferred, over how many episodes are kept."""
    kept = (1, 4, 8, 12, 16)
    figure = blank_figure((5, 3.4))
    axes = figure.subplots()
    found = [draw_boundary(kept=k) for k in kept]
    axes.plot(kept, found, color=ORANGE, marker="s", label="drawn by |A|, of 16")
    axes.axhline(0.25, color=BLUE, label="mean")
    few = boundary(limit_weights)
    axes.axhline(few, color=INK, linestyle=":", label="few from a large group")
    axes.set(xlabel="kept episodes", ylabel="chance of the prize", ylim=(0, 0.28))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    return figure


def _bars(values: Mapping[str, tuple[float, ...]], labels: tuple[str, ...]) -> Figure:
    """A panel of bars for each label, one below the other, so that a phone can show them."""
    figure = blank_figure((5, 3.2 * len(labels)))
    for axes, column, label, colour in zip(
        figure.subplots(len(labels), 1),
        zip(*values.values(), strict=True),
        labels,
        (BLUE, ORANGE),
        strict=True,
    ):
        axes.barh(list(values), column, color=colour, height=0.65)
        axes.bar_label(axes.containers[0], fmt="%.3f", padding=3, fontsize=9)
        axes.margins(x=0.18)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.axvline(0, color=INK, linewidth=0.8)
    return figure


def aaw_map() -> Figure:
    """Where the draw pays, in colours alone: the figures of the cells are in the table beside the page."""
    return draw_map(read_csv(AAW_MAP), size=16, figsize=(7.5, 6))


PICTURES: Mapping[str, Callable[[], Figure]] = {
    "aaw-map": aaw_map,
    "default-run": default_run,
    "division": division,
    "experiment": experiment.curves,
    "experiment-differences": experiment.forest,
    "game-tree": functools.partial(game_tree, game_tree_of.rules_label),
    "game-tree-advantages": functools.partial(game_tree, game_tree_of.advantage_label),
    "game-tree-policy": functools.partial(game_tree, game_tree_of.policy_label),
    "kuhn-estimators": kuhn_estimators,
    "one-step": one_step,
    "real-model": real_model,
    "risk": risk,
    "start-weights": weights_of_starts,
}


def svg(name: str, alt: str) -> str:
    """A picture as it stands in a page.

    Args:
      name: one of ``PICTURES``.
      alt: what it shows, in words.

    Raises:
      KeyError: there is no such picture.
    """
    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}):
        file = io.StringIO()
        PICTURES[name]().savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return in_page(file.getvalue(), name, alt)


def in_page(drawn: str, name: str, alt: str) -> str:
    """A drawing without what would reach out of it: style, size, colours, and names that another may have."""
    text = drawn[drawn.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.S)
    text = re.sub(f"{INK}|#000000", "currentColor", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    head, _, rest = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    width = float(box[0].split()[2]) if box else 0.0
    return (
        f'<div class="picture"><svg class="picture{" wide" * (width > WIDE)}" {box[0] if box else ""} '
        f'style="max-width: {1.5 * width:.0f}px" role="img" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'aria-label="{escape(alt)}"><title>{escape(alt)}</title>{rest}</div>'
    )


def main(run: str) -> int:
    """Keep what the picture of a run needs."""
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(kept(Path(run)), encoding="utf-8")
    draw_overview()
    return 0


def draw_overview() -> None:
    """Draw the README's picture, on white."""
    with mpl.rc_context(SETTINGS):
        overview().savefig(OVERVIEW, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

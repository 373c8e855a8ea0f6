"""The picture of a run."""

from pathlib import Path

import numpy as np

from algorithms.analysis.plots import draw_run, plot_run
from tests.run_folders import write_run


def test_how_unlikely_good_replies_were_stands_beside_the_entropy() -> None:
    """Where it is known: an older run has none, and an update without a good reply neither."""
    old = [{"update": n, "reward": 0.0, "entropy": 0.5} for n in (1, 2, 3)]
    new = [{**line, "good_logprob": p} for line, p in zip(old, (-0.7, None, -0.9), strict=True)]
    for records, drawn in ((old, {}), (new, {"-log p of good replies": [0.7, 0.9]})):
        lines = draw_run(records).axes[2].get_lines()
        found = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in lines}
        assert found == {"entropy": [0.5] * 3, **drawn}


def test_a_title_is_any_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert plot_run(folder, title="runs/run_$1_$").stat().st_size > 0

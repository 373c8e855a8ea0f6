"""What every method does to the gradient on five small games: the tables of ``tsmg lab --all``, for a page.

    python tests/benchmarks/method_tables.py [--markdown docs/reference/methods_exact.md]

Groups have four episodes, of which the methods that select keep two. It takes five minutes of one core.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from proofs.estimators.methods import tables
from tests.tables import as_markdown, put, show

NAMES = ("cosine", "bias", "std", "per generated token", "per trained token", "starts", "curricula")
"""Of the tables, as the page marks them, in the order of the command."""


def main() -> None:
    """Print the tables, and put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--markdown", type=Path, metavar="PAGE")
    page = parser.parse_args().markdown
    torch.set_num_threads(1)  # the tables are small
    for name, (title, rows) in zip(NAMES, tables(), strict=True):
        print(f"{title}:")
        show(rows)
        if page:
            put(page, name, as_markdown(rows))


if __name__ == "__main__":
    main()

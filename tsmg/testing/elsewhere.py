"""The rule of another process: with another hash seed, the same scripts give the same episodes."""

import os
import subprocess
import sys
from collections.abc import Iterator

from tsmg.game import AnyGame
from tsmg.testing.rule import Case, Finding, Note, Outcome, Rule, walk_rule
from tsmg.testing.walks import CHOICES, UNNAMED, Script, Subject

SCRIPTS = 8
_SECONDS = 60
_HASH_SEED = "20011"
_PROGRAM = """
import os, sys
channel = os.dup(1)
os.dup2(2, 1)  # whatever the game prints goes elsewhere
sys.path[:] = {path!r}
{source}
from tsmg.testing.elsewhere import told
with open(channel, "wb") as lines:
    lines.write("\\n".join(told(game, {limit}, {texts})).encode("utf-8", "backslashreplace"))
"""


def told(game: AnyGame, limit: int, action_texts: tuple[str, ...]) -> list[str]:
    """What a few scripts show, one line each."""
    lines = []
    for seed in range(SCRIPTS):
        moves = tuple(seed * step % CHOICES for step in range(limit))
        subject = Subject(make=lambda: game, limit=limit, full=None, action_texts=action_texts)
        walk = subject.walk(game, Script(seed=seed, moves=moves))
        lines.append(repr([visit.seen for visit in walk.visits]).replace("\n", "\\n"))
    return lines


@walk_rule(
    name="hash-seed",
    requirement="another process with another hash seed gives the same texts and rewards",
    cause="the order of a set, or hash() of a text, decides what happens",
    unit="scripts",
    is_static=True,
)
def _hash_seed(case: Case) -> Iterator[Outcome]:
    """The scripts again in a process of its own, where another process can make the game."""
    subject = case.subject
    limit = min(subject.limit, 16)
    if subject.source == UNNAMED:
        yield Note(
            "not tried: the game was not made by a class or function that has a name in a module"
        )
        return
    program = _PROGRAM.format(
        path=sys.path, source=subject.source, limit=limit, texts=subject.action_texts
    )
    try:
        process = subprocess.run(  # noqa: S603  # the code that makes the game, which the caller gave
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": _HASH_SEED},
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        yield Note(f"not tried: another process cannot make the game ({_reason(error):.200})")
        return
    theirs = process.stdout.decode("utf-8").split("\n")
    ours = told(subject.make(), limit, subject.action_texts)
    for seed, (here, there) in enumerate(zip(ours, theirs, strict=True)):
        written = here.encode("utf-8", "backslashreplace").decode("utf-8")
        at = next((i for i, (a, b) in enumerate(zip(written, there, strict=False)) if a != b), 0)
        part = slice(max(0, at - 60), at + 60)
        seen = f"with seed {seed} one process gives ...{written[part]}..., the other ...{there[part]}..."
        yield None if written == there else Finding(0, seen)


def _reason(error: Exception) -> str:
    """Why there is nothing from the other process: the last line that it wrote, if there is one."""
    written = error.stderr if isinstance(error, subprocess.CalledProcessError) else b""
    lines = written.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), str(error))


RULES: tuple[Rule, ...] = (_hash_seed,)

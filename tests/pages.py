"""The code blocks of a page, and what runs them as a reader would: in order, in a folder of their own, with names kept.

A block is run by what it is:

- Python with ``>>>``: examples, whose results are compared;
- Python whose first line is ``# name.py``: a file; with ``# name.py, continued`` it is added to that file;
- other Python: a program;
- ``console``: commands after ``$``, whose output is compared (``...`` stands for anything);
- ``sh``: commands that must succeed.

A block that is not run has ``<!-- not run: reason -->`` on the line before it.
"""

import doctest
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner

_MARK = re.compile(r"^<!-- not run: (\S.*) -->$")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")
_FILE = re.compile(r"^# (\w+\.py)(, continued)?\b.*$")
_ASKED = re.compile(r"^[\w ]+> (.*)$", re.MULTILINE)
_COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@attrs.frozen(kw_only=True)
class Block:
    """A code block; ``reason`` says why it is not run, and is empty if it is."""

    line: int
    language: str
    code: str
    reason: str = ""

    @property
    def is_code(self) -> bool:
        """Whether it is more than a directive of the site."""
        return not self.language.startswith("{")

    @property
    def is_examples(self) -> bool:
        """Whether it holds examples with results."""
        return self.language == "python" and ">>> " in self.code


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page, in order; lines that are indented by four or more after an empty one are a block, too."""
    blocks: list[Block] = []
    lines = text.split("\n")
    start, fence, head = -1, "", ("", "")
    for n, line in enumerate(lines):
        match = _FENCE.match(line)
        if fence:
            if line.strip() == fence:
                code = "\n".join(lines[start + 1 : n]) + "\n"
                blocks.append(Block(line=start + 1, language=head[0], code=code, reason=head[1]))
                fence = ""
        elif match:
            mark = _MARK.match(lines[n - 1]) if n else None
            start, fence = n, match[2]
            head = (match[3].strip(), mark[1] if mark else "")
        elif line.startswith("    ") and line.strip() and not (n and lines[n - 1].strip()):
            blocks.append(Block(line=n + 1, language="indented", code=line))
    return blocks


def unrun(text: str) -> list[str]:
    """The code blocks of a page that nothing runs and that no mark excuses, and the marks without a block."""
    runnable = ("python", "console", "sh")
    problems = [
        f"line {block.line}: {block.language or 'no language'}"
        for block in blocks_of(text)
        if block.is_code and not block.reason and block.language not in runnable
    ]
    marks = len(re.findall(r"^ *<!-- not run", text, re.MULTILINE))
    used = sum(bool(block.reason) for block in blocks_of(text))
    return problems + ["a mark without a block or a reason"] * (marks - used)


class Reader:
    """Does what a page says.

    Args:
      folder: where files are written; the working folder, and on the path, while blocks run.
      names: what the page's Python begins with.
    """

    def __init__(self, folder: Path, names: dict[str, Any]) -> None:
        self.folder = folder
        self.names = {"__name__": "page", **names}

    def run(self, page: str, text: str) -> int:
        """Run all blocks, and count them.

        Raises:
          AssertionError: a block fails, or says another thing than the page.
        """
        done = 0
        for block in blocks_of(text):
            if block.is_code and not block.reason:
                self._run(f"{page}, line {block.line}", block)
                done += 1
        return done

    def _run(self, where: str, block: Block) -> None:
        if block.is_examples:
            self._examples(where, block)
        elif block.language == "python" and (file := _FILE.match(block.code.split("\n")[0])):
            self._write(block.code, file[1], is_more=bool(file[2]))
        elif block.language == "python":
            exec(compile(block.code, where, "exec"), self.names)
        else:
            self._commands(where, block)

    def _examples(self, where: str, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.code, self.names, where, where, block.line)
        test.globs = self.names
        differences: list[str] = []
        result = doctest.DocTestRunner().run(test, out=differences.append, clear_globs=False)
        assert result.attempted and not result.failed, "".join(differences)

    def _write(self, code: str, name: str, *, is_more: bool) -> None:
        file = self.folder / name
        before = file.read_text(encoding="utf-8") if is_more else ""
        file.write_text(before + ("\n" if is_more else "") + code, encoding="utf-8")
        for module in [m for m in sys.modules if (self.folder / f"{m}.py").is_file()]:
            del sys.modules[module]
        importlib.invalidate_caches()

    def _commands(self, where: str, block: Block) -> None:
        """Run commands; in a console the answers to questions stand after ``>``."""
        for command, shown in _commands_of(block):
            output = self._command(where, command, "\n".join(_ASKED.findall(shown)))
            if block.language == "console":
                same = doctest.OutputChecker().check_output(shown, output, _COMPARED)
                assert same, f"{where}: {command}\n--- on the page\n{shown}--- here\n{output}"

    def _command(self, where: str, command: str, answers: str) -> str:
        from algorithms.cli.main import main

        name, *arguments = shlex.split(command, comments=True)
        assert name == "tsmg", f"{where}: cannot run {name!r}"
        result = CliRunner().invoke(main, arguments, input=answers)
        is_check = arguments[0] == "check"  # which says by its exit code that a rule is broken
        assert result.exit_code in ((0, 1) if is_check else (0,)), f"{where}: {result.output}"
        return result.output


def _commands_of(block: Block) -> list[tuple[str, str]]:
    """Commands, each with the output that the page shows."""
    if block.language == "console":
        parts = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
        assert not parts[0], f"line {block.line}: a console begins with a command"
        return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts[1:]]
    lines = block.code.replace("\\\n", " ").splitlines()
    return [(line, "") for line in lines if line.strip() and not line.startswith("#")]

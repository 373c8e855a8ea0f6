"""Transcripts of strangers in a report: read as far as they go, and never obeyed by a page or a reader of Markdown."""

import json
import re
from typing import Any

import attrs

from algorithms.analysis.groups import Group
from algorithms.analysis.report import report_content
from algorithms.analysis.report.episodes import viewer_data
from algorithms.analysis.report.page import report_markdown, report_page
from algorithms.analysis.report.texts import embedded_json
from algorithms.runs.reader import Run, read_run, scenario_of
from algorithms.runs.records import read_lines
from tests.fuzz.guard import Case, declared, scratch, wrong
from tests.fuzz.run_folders import transcript
from tests.fuzz.source import Source, altered, damaged
from tests.run_folders import write_run

MODULES = (
    "algorithms.analysis.report.episodes",
    "algorithms.analysis.report.texts",
    "algorithms.analysis.report.page",
    "algorithms.runs.reader",
)
CASES = 20_000
_PAGES = 400  # one in so many cases is a whole page
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\ud800-\udfff]")
_SCRIPTS = (0, 2)  # the elements of scripts in a page: episodes and their viewer, if there are some


def check_viewer(run: Run) -> list[dict[str, Any]]:
    """What the viewer is given stands within a page as data."""
    group = Group(name="all", scenario=scenario_of(run), runs=(run,))
    found = viewer_data([group], per_run=5)
    text = embedded_json(found)
    if any(character in text for character in "<>&\u2028") or json.loads(text) != found:
        raise wrong("wrong", "a transcript is not data within a page")
    if any(
        _HIDDEN.search(json.loads(f'"{part}"')) for part in re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    ):
        raise wrong("wrong", "a transcript shows an invisible character")
    return found


def check_page(run: Run, source: Source) -> None:
    """A page about a run whose configuration is hostile: no scripts but ours."""
    config = {**run.config, "title": source.text(), "scenario": source.text(), "arm": source.text()}
    content = report_content([attrs.evolve(run, config=config)], [source.text()])
    page, text = report_page(content), report_markdown(content)
    if page.lower().count("<script") not in _SCRIPTS or page.count("<!--"):
        raise wrong("code execution", "a text of a run became an element of the page")
    if _HIDDEN.search(page) or _HIDDEN.search(text):
        raise wrong("wrong", "a page shows an invisible character")


def prepare() -> Case:
    folder = scratch("episodes")
    write_run(folder / "run", successes=(0.2, 0.9), every=1)
    file = folder / "run" / "episodes.jsonl"
    whole = transcript()

    def case(source: Source) -> None:
        lines = [altered(source, whole) for _ in range(source.integer(1, 2))]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file.write_bytes(damaged(source, data) if source.one_in(4) else data)
        with declared():
            read_lines(file)
        with declared():
            run = read_run(file.parent)
            check_viewer(run)
            if source.rarely(_PAGES):
                check_page(run, source)

    return case

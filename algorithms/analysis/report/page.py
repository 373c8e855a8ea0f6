"""The report as a page, in Markdown and as a picture."""

import base64
import hashlib
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from algorithms.analysis.report.answers import Answer
from algorithms.analysis.report.charts import COLOURS, picture, svg
from algorithms.analysis.report.content import Content
from algorithms.analysis.report.texts import embedded_json, shown_text
from algorithms.analysis.tables import markdown
from algorithms.errors import RunFolderError

_FOLDER = "templates"


def report_page(content: Content) -> str:
    """One HTML page that needs nothing beside it: no network, no other file.

    Its policy of content lets no script run but its own, whose hash it states.
    """
    script = _file("viewer.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    charts = [
        [drawn for chart in panel.charts if (drawn := svg(chart, panel.groups)) is not None]
        for panel in content.panels
    ]
    return (
        _environment()
        .get_template("page.html")
        .render(
            content=content,
            panels=[
                (panel, [Markup(drawn) for drawn in chart])  # noqa: S704 - matplotlib escapes its texts
                for panel, chart in zip(content.panels, charts, strict=True)
            ],
            colours=len(COLOURS),
            style=Markup(_file("page.css")),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            script_hash=digest,
            episodes=Markup(embedded_json(list(content.episodes))),  # noqa: S704 - HTML's characters are escaped in it
        )
    )


def _file(name: str) -> str:
    return (resources.files("algorithms.analysis.report") / _FOLDER / name).read_text(
        encoding="utf-8"
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Texts of runs without invisible characters; what is markup already stays."""
    return shown_text(value) if type(value) is str else value


def report_markdown(content: Content) -> str:
    """The comparisons, the answers, the tables and the gaps, in Markdown."""
    parts = [f"# {shown_text(content.title)}"]
    if content.against:
        parts.append("\n".join(f"- {shown_text(sentence)}" for sentence in content.against))
    parts += map(_sentence, content.answers)
    parts += [f"## {shown_text(table.title)}\n\n{markdown(table)}" for table in content.tables]
    if content.notes:
        parts.append("## Notes\n\n" + "\n".join(f"- {shown_text(note)}" for note in content.notes))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _sentence(answer: Answer) -> str:
    beside = [f"{bar.name} {bar.text}" for bar in answer.bars if bar.kind == "reference"]
    change = f"{answer.start} before training, {answer.final} after"
    verdict = f"{answer.verdict}: {answer.what} {change if answer.is_trained else answer.final}."
    more = f" Baselines: {', '.join(beside)}." if beside else ""
    where = f"**{answer.scenario}, {answer.name}** ({answer.runs})"
    return shown_text(
        f"{where}. {verdict}{more} {' '.join(answer.beside)} {answer.interval}."
    ).replace("  ", " ")


def write_report(
    content: Content,
    page: str | Path,
    *,
    markdown_file: str | Path | None = None,
    png_file: str | Path | None = None,
) -> Path:
    """Write the page, and what else is asked for.

    Args:
      content: the content of the report.
      page: the HTML file to write.
      markdown_file: a Markdown file to write, with the answers and tables.
      png_file: a PNG file to write, with the curves of the first scenario.

    Returns:
      The HTML file.

    Raises:
      RunFolderError: a file cannot be written.
    """
    try:
        Path(page).write_text(report_page(content), encoding="utf-8", errors="replace")
        if markdown_file is not None:
            Path(markdown_file).write_text(
                report_markdown(content), encoding="utf-8", errors="replace"
            )
        if png_file is not None:
            picture(content.panels[0].charts, content.panels[0].groups, png_file)
    except OSError as error:
        raise RunFolderError(f"the report cannot be written: {error}") from error
    return Path(page)

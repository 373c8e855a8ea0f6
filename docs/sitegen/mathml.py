"""Formulas as MathML: browsers draw it themselves, so that pages need neither a script nor a network."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

_log = logging.getLogger(__name__)


def formula(node: nodes.Element, display: str) -> str:
    """The MathML of a formula; a warning where LaTeX is not understood."""
    text = node.astext().replace("\\operatorname*", "\\operatorname").replace("{align}", "{align*}")
    try:
        converted: str = convert(text, display=display)
    except Exception as error:  # noqa: BLE001  # the converter has many kinds, and the page must be named
        _log.warning("formula %r: %r", node.astext(), error, location=node)
        return ""
    if "\\" in converted or "<mo />" in converted:
        _log.warning(
            "formula %r has a command that the converter does not know",
            node.astext(),
            location=node,
        )
    return converted


def inline(writer: Any, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(formula(node, "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """A displayed formula, which may be wider than a phone."""
    label = f' id="{node["ids"][0]}"' if node["ids"] else ""
    number = get_node_equation_number(writer, node) if node["number"] else ""
    label_shown = f'<span class="number">({number})</span>' if number else ""
    drawn = f'<div class="wide">{formula(node, "block")}</div>'
    writer.body.append(f'<div class="formula"{label}>{drawn}{label_shown}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

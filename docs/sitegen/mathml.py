"""Formulas as MathML: browsers draw it themselves, so that pages need neither a script nor a network."""

import itertools
import re
from typing import Any
from xml.etree import ElementTree as ET

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

_log = logging.getLogger(__name__)
_MATHML = "http://www.w3.org/1998/Math/MathML"
_ROWS = frozenset(f"{{{_MATHML}}}{name}" for name in ("math", "mrow", "msqrt", "mtd", "mstyle"))
_OPENS = frozenset("([{")
ET.register_namespace("", _MATHML)


def formula(node: nodes.Element, display: str) -> str:
    """The MathML of a formula; a warning where LaTeX is not understood."""
    text = node.astext().replace("\\operatorname*", "\\operatorname").replace("{align}", "{align*}")
    # what such a pair of brackets encloses is one thing, which may have an exponent
    text = re.sub(r"\\[bB]ig(?=[(\[])", r"\\left", text)
    text = re.sub(r"\\[bB]ig(?=[)\]])", r"\\right", text)
    try:
        converted = spaced(convert(text, display=display))
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


def spaced(converted: str) -> str:
    """A formula whose functions' names stand off from what is before and behind them, but not from a bracket.

    The converter gives some names the space of an infix operator, and others none. Pairs of bars are brackets, too.
    """
    root = ET.fromstring(converted)  # noqa: S314 - our own converter's
    for name in root.iter(f"{{{_MATHML}}}mo"):
        if re.fullmatch("[A-Za-z]{2,}", name.text or ""):
            name.tag, name.attrib = f"{{{_MATHML}}}mi", {}
    for row in root.iter():
        if row.tag not in _ROWS:
            continue
        bars = [base for base in map(_base, row) if base.text == "|"]
        if len(bars) % 2 == 0:
            for bar, side in zip(bars, itertools.cycle(("rspace", "lspace"))):
                bar.set(side, "0")
        for before, after in reversed(list(itertools.pairwise(row))):
            is_operand = not before.tag.endswith("}mo") or before.text == "∇"
            behind_a_name = _is_name(before) and not _opens(after)
            if behind_a_name or (_is_name(after) and is_operand):
                space = ET.Element(f"{{{_MATHML}}}mspace", width="0.167em")
                row.insert(list(row).index(after), space)
    return ET.tostring(root, encoding="unicode")


def _base(element: ET.Element) -> ET.Element:
    """What an index or an exponent is set to; an element without them as it is."""
    scripted = element.tag.rpartition("}")[2] in ("msub", "msup", "msubsup", "munder")
    return element[0] if scripted else element


def _is_name(element: ET.Element) -> bool:
    """Whether it is the name of a function, perhaps with an index."""
    base = _base(element)
    return base.tag.endswith("}mi") and bool(re.fullmatch("[A-Za-z]{2,}", base.text or ""))


def _opens(element: ET.Element) -> bool:
    """Whether it is an opening bracket, another operator, or begins with a bracket."""
    first = element[0] if element.tag.endswith("}mrow") and len(element) else element
    return element.tag.endswith("}mo") or (first.text or "")[:1] in _OPENS


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

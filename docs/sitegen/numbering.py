"""Shows the numbers of the theory on the site, and makes links of references to them; an extension of Sphinx."""

import re
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from sitegen.theory import REFERENCE, TAG, back_links, code_rows, numbered, theory_pages

_log = logging.getLogger(__name__)
_NAMED = re.compile(r"(?<!\$\$ )\((eq-[\w-]+)\)")


class CodeLines(SphinxDirective):
    """A list of the functions and classes that the block names, each with its file and lines as they are now."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The list."""
        self.assert_has_content()
        self.env.note_reread()  # lines may have moved, although the page has not changed
        items = [
            nodes.list_item(
                "", nodes.paragraph("", "", nodes.literal("", name), nodes.Text(f": {place}"))
            )
            for name, place in code_rows(list(self.content))
        ]
        return [nodes.bullet_list("", *items)]


def read_page(app: Any, page: str, source: list[str]) -> None:
    """Equations that examples name get their numbers; a page of the theory ends with what refers to it."""
    names = {one.label: one.name for one in numbered().values() if one.label}
    source[0] = _NAMED.sub(lambda match: f"({names.get(match[1], match[1])})", source[0])
    if page in theory_pages():
        source[0] += back_links(page, theory_pages()[page])


def number(app: Any, tree: nodes.document) -> None:
    """Tags become the numbers of equations, and heads of claims become places to link to."""
    for block in tree.findall(nodes.math_block):
        text = block.astext()
        if tag := TAG.search(text):
            block["number"] = tag[1]
            block.children = [nodes.Text(TAG.sub("", text))]
    anchors = {f"{one.name} ({one.title}).": one.anchor for one in numbered().values()}
    for paragraph in tree.findall(nodes.paragraph):
        head = next((part for part in paragraph.children if part.astext()), None)
        if isinstance(head, nodes.strong) and head.astext() in anchors:
            paragraph["ids"].append(anchors[head.astext()])
            paragraph["classes"].append("claim")


def link(app: Any, tree: nodes.document, page: str) -> None:
    """Plain references lead to what they name."""
    for text in list(tree.findall(nodes.Text)):
        apart = nodes.reference | nodes.literal | nodes.literal_block | nodes.title | nodes.raw
        if REFERENCE.search(text) and not _is_within(text, apart | nodes.math_block):
            text.parent.replace(text, _linked(app, page, text))


def _is_within(node: nodes.Node, kinds: Any) -> bool:
    """Whether a node lies in one of these kinds, or in the head of a claim."""
    parent = node.parent
    while parent is not None:
        is_head = isinstance(parent, nodes.strong) and "claim" in parent.parent.get("classes", ())
        if is_head or isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def _linked(app: Any, page: str, text: nodes.Text) -> list[nodes.Node]:
    parts: list[nodes.Node] = []
    end = 0
    for match in REFERENCE.finditer(text):
        one = numbered().get(match[0])
        if one is None:
            _log.warning("nothing is numbered %r", match[0], location=text.parent)
            continue
        uri = "" if one.page == page else app.builder.get_relative_uri(page, one.page)
        shown = nodes.reference("", match[0], internal=True, refuri=f"{uri}#{one.anchor}")
        parts += [nodes.Text(str(text)[end : match.start()]), shown]
        end = match.end()
    return [*parts, nodes.Text(str(text)[end:])]


def setup(app: Any) -> dict[str, bool]:
    """Connect what numbers and what links."""
    app.add_directive("code-lines", CodeLines)
    app.connect("source-read", read_page)
    app.connect("doctree-read", number)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

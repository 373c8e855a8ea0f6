"""The site: Markdown pages of this folder, and reference pages that ``sitegen`` makes from the code."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from sitegen import api, diagram, pictures  # noqa: E402
from sitegen.docstrings import readable  # noqa: E402
from sitegen.pages import write_pages  # noqa: E402
from sitegen.project_pages import within_site  # noqa: E402
from sitegen.public import public  # noqa: E402
from sitegen.terms import defined_on  # noqa: E402

project = "tsmg"
author = "The tsmg developers"
project_copyright = author
version = release = installed_version("tsmg")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sitegen.mathml",
    "sitegen.numbering",
]
exclude_patterns = ["_build", "sitegen"]
nitpicky = True
smartquotes = False  # options begin with two hyphens

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"  # that of the theme underlines names
html_title = "tsmg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False

for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"  # as the docstrings say

SHORT_NAMES: dict[str, str] = {}


class PackageDiagram(SphinxDirective):
    """The rooms and their imports, drawn and listed; what the block holds is for readers of the source."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture, what is wrong with it, and the table of all imports."""
        self.env.note_reread()  # imports may have changed, although the page has not
        picture = nodes.raw("", diagram.svg(), format="html")
        rows = "".join(
            f"<tr><td><code>{a}</code></td><td><code>{b}</code></td><td>{how}</td></tr>"
            for a, b, how in diagram.rows()
        )
        head = "<thead><tr><th>room</th><th>imports</th><th>in modules</th></tr></thead>"
        table = f'<table class="docutils">{head}<tbody>{rows}</tbody></table>'
        around = f'<div class="table-wrapper docutils container">{table}</div>'
        verdict = nodes.paragraph("", diagram.verdict())
        return [picture, verdict, nodes.raw("", around, format="html")]


class Picture(SphinxDirective):
    """A picture by its name, drawn now; the block holds what it shows, in words."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture as a part of the page."""
        self.assert_has_content()
        self.env.note_reread()  # what it shows may have changed, although the page has not
        shown = pictures.svg(self.arguments[0], " ".join(self.content))
        return [nodes.raw("", shown, format="html")]


def make_pages(app: Any) -> None:
    """Write the generated pages before any is read."""
    write_pages(HERE)
    names = list(api.aliases().values())
    short = [full.rpartition(".")[2] for full in names]
    SHORT_NAMES.update(
        {
            s: full
            for s, full in zip(short, names, strict=True)
            if len({f for f in names if f.endswith(f".{s}")}) == 1
        }
    )


def read_docstring(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make a docstring readable, before napoleon sees it; leave out what comes from another library."""
    if what == "method" and not obj.__doc__ and not _is_documented_by_us(obj):
        lines.clear()
    lines[:] = readable(lines)


def _is_documented_by_us(method: Any) -> bool:
    """Whether the docstring that a method inherits is from one of these packages."""
    owner, _, name = method.__qualname__.rpartition(".")
    line = getattr(sys.modules[method.__module__], owner, object).__mro__
    documented = [c for c in line if getattr(vars(c).get(name), "__doc__", None)]
    return bool(documented) and documented[0].__module__.partition(".")[0] in api.PACKAGES


def plain_attributes(app: Any, tree: nodes.document) -> None:
    """Names under ``Attributes`` are definitions; Sphinx would look for something else of that name."""
    for node in list(tree.findall(addnodes.pending_xref)):
        is_name = isinstance(node[0], addnodes.literal_strong)
        if is_name and node.get("refspecific") and node["reftype"] == "obj":
            node.replace_self(node.children)


def index_terms(app: Any, tree: nodes.document) -> None:
    """The search finds a term of the glossary first on the page that defines it."""
    terms = defined_on(app.env.current_document.docname)
    entries = [("single", term, "", "main", None) for term in terms]
    if entries and tree.children:
        tree.insert(0, addnodes.index(entries=entries))


def read_page(app: Any, page: str, source: list[str]) -> None:
    """Turn links to copied pages."""
    source[0] = within_site(source[0], page.count("/"))


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what has only a docstring of Python's own."""
    own = str(getattr(obj, "__doc__", "") or "")
    return True if own.startswith("Alias for field number") else None


def resolve(app: Any, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """Names in signatures: public ones lead to their pages; internal ones and those of other libraries stay plain text.

    Sphinx warns of a public one that leads nowhere.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    full = api.aliases().get(target) or SHORT_NAMES.get(target)
    if full is not None and (link := _reference(app, env, node["refdoc"], full, contnode)):
        return link
    return None if full in public() else contnode


def _reference(app: Any, env: Any, page: str, full: str, shown: nodes.Node) -> nodes.Node | None:
    entry = env.get_domain("py").objects.get(full)
    if entry is None:
        return None
    return make_refnode(app.builder, page, entry.docname, entry.node_id, [shown], full)


def end_at_text(app: Any, tree: nodes.document, page: str) -> None:
    """A block of code ends with its last line; in the source a blank one ends what a doctest expects."""
    for block in tree.findall(nodes.literal_block):
        block.rawsource = block.astext().rstrip()  # only what is equal to the text is coloured
        block.children[:] = [nodes.Text(block.rawsource)]


def link_literals(app: Any, tree: nodes.document, page: str) -> None:
    """Code in a line that names something public leads to its page."""
    for node in list(tree.findall(nodes.literal)):
        full = api.aliases().get(node.astext().removesuffix("()"))
        inside = isinstance(node.parent, nodes.reference | nodes.title)
        if full is None or inside or page == api.page_of(full).removesuffix(".rst"):
            continue
        if link := _reference(app, app.env, page, full, node.deepcopy()):
            node.replace_self(link)


def setup(app: Any) -> None:
    """What is our own."""
    app.add_directive("package-diagram", PackageDiagram)
    app.add_directive("picture", Picture)
    app.connect("builder-inited", make_pages)
    app.connect("doctree-read", plain_attributes)
    app.connect("doctree-read", index_terms)
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("missing-reference", resolve)
    app.connect("doctree-resolved", link_literals)
    app.connect("doctree-resolved", end_at_text)

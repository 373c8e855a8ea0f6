"""The numbers of the theory: each is whole and unique, leads somewhere, and is listed with what refers to it."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

from algorithms import MSGRPOConfig
from sitegen import api, game_tree, theory
from sitegen.citing import CITE, INDEX, bibtex, citing_pages

ROOT = Path(__file__).parent.parent
PAGE = "**Theorem 3.1 (one).** It is so.\n\n$$\nx = 1\n\\tag{3.1}\n$$ (eq-one)\n\nSee Theorem 3.1 and Equation 2.7.\n"


def test_every_equation_and_claim_has_a_number_of_its_page_and_none_is_skipped() -> None:
    assert theory.misnumbered(theory.theory_pages()) == []
    assert len(theory.numbered()) > 100


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (("", ""), []),
        (("\\tag{3.1}\n", ""), ["a/03_b: Equation", "a/03_b: Equation 3.1"]),
        (("\\tag{3.1}", "\\tag{2.1}"), ["a/03_b: Equation 2.1", "a/03_b: Equation 3.1"]),
        (("**Theorem 3.1", "**Theorem 3.2"), ["a/03_b: Theorem 3.1", "a/03_b: Theorem 3.2"]),
        (("It is", "is\n\n**Theorem 3.1 (two).** It is"), ["a/03_b: Theorem 3.2"]),
    ],
)
def test_a_doubled_missing_or_skipped_number_is_noticed(
    change: tuple[str, str], problems: list[str]
) -> None:
    assert theory.misnumbered({"a/03_b": PAGE.replace(*change, 1)}) == problems


def test_what_a_text_refers_to() -> None:
    assert theory.references_in(PAGE) == ["Theorem 3.1", "Equation 2.7"]
    assert theory.references_in("**Theorem 3.1 (one).** It is so.") == []
    source = 'def f():\n    """Does.\n\n    Theory: Theorem 3.1, Equation 2.7.\n    """\n'
    assert theory.references_of("m", source) == {"m.f": ("Theorem 3.1", "Equation 2.7")}


def test_every_reference_names_something_numbered() -> None:
    assert set(theory.users()) - set(theory.numbered()) == set()


def test_theory_stands_at_the_end_of_a_docstring_whose_code_is_found() -> None:
    found = theory.docstring_references()
    assert len(found) > 70
    for name in found:
        module, value = _loaded(name)
        doc = inspect.getdoc(value.sides if hasattr(value, "sides") else value) or ""
        assert re.search(r"\n\nTheory: [^\n]+\.$", doc), (module, name)


def _loaded(name: str) -> tuple[str, object]:
    """The module of a dotted name, and what the name stands for."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if (ROOT / module.replace(".", "/")).with_suffix(".py").is_file():
            value: object = importlib.import_module(module)
            for part in parts[count:]:
                value = getattr(value, part, None)  # fields have no value
            return module, value
    raise AssertionError(name)


def test_the_functions_that_a_page_of_the_theory_lists_refer_to_it() -> None:
    found = theory.docstring_references()
    missing = []
    for page, text in theory.theory_pages().items():
        table = text.partition("| here | in the code |")[2]
        for shown in re.findall(r"`([a-z]\w+(?:\.\w+)+)`", table.partition("\n\n")[0]):
            owner, _, last = shown.rpartition(".")
            full = api.aliases().get(shown) or f"{api.aliases().get(owner, owner)}.{last}"
            if full in api.module_names() or not inspect.isfunction(_loaded(full)[1]):
                continue
            missing += [] if full in found else [f"{page}: {shown}"]
    assert missing == []


def test_what_a_docstring_names_links_back() -> None:
    pages = {page: theory.back_links(page, text) for page, text in theory.theory_pages().items()}
    for where, names in theory.docstring_references().items():
        for name in names:
            section = pages[theory.numbered()[name].page]
            (row,) = (line for line in section.splitlines() if line.startswith(f"| {name} |"))
            assert f"`{where}`" in row


def test_the_index_lists_each_number_once_with_its_users() -> None:
    rows = re.findall(r"^\| (\w+ [\d.]+) \| .+ \| (.*) \|$", citing_pages()[INDEX], re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(theory.numbered())
    used = dict(rows)
    assert "`algorithms.method.first_draw.sampling_weights`" in used["Equation 8.1"]
    assert "/08_aaw_episode_sampling.md)" in used["Equation 6.8"]


def test_entries_of_bibtex_follow_the_citation_file() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{cff["version"]}"\n' in project
    page = citing_pages()[CITE]
    assert cff["title"] in page and "and Stein, Sebastian" in page and "year    = {2025}" in page
    entry = {"title": "T", "authors": [{"name": "We"}], "version": 2, "date-released": "2031-01-02"}
    assert bibtex("k", entry).splitlines()[1:] == [
        "  title   = {{T}},",
        "  author  = {{We}},",
        "  year    = {2031},",
        "  version = {2},",
        "}",
    ]


# ---- the tree of the running example


def test_the_drawn_tree_has_the_trajectories_of_the_policy_and_no_more() -> None:
    ends = game_tree.leaves(game_tree.tree())
    drawn = {(x.path, x.earned): (float(x.probability), x.ending) for x in ends if x.probability}
    example = game_tree.running_example()
    assert len(ends) == 8
    assert drawn == {
        (example["words_of"](one), one.episode.episode_return("walker")): (
            pytest.approx(float(one.probability)),
            one.episode.ending.value,
        )
        for one in example["PLAY"].trajectories
    }


def test_what_stands_at_the_ends_of_the_drawn_trees() -> None:
    ends = game_tree.leaves(game_tree.tree())
    assert game_tree.policy_label(ends[1]) == "luck: p = 1/10, R = 4"
    assert [game_tree.advantage_label(x) for x in ends if game_tree.advantage_label(x)] == [
        "coin twice: A = -1/3",
        "luck: A = 5/3",
        "slip: A = -1",
    ]
    assert [game_tree.rules_label(x) for x in ends][3:5] == [
        "R = -1, time is up",
        "R = -2, time is up",
    ]


# ---- the defaults that the page of MS-GRPO shows

DEFAULT = re.compile(r"^\| `(\w+)` \| (\S+) \| ", re.MULTILINE)


def wrong_defaults(page: str) -> list[str]:
    """The settings of a page whose default in the code is another one."""
    config = MSGRPOConfig()
    return [name for name, shown in DEFAULT.findall(page) if repr(getattr(config, name)) != shown]


def test_the_defaults_of_ms_grpo_are_those_of_the_code() -> None:
    (page,) = (text for page, text in theory.theory_pages().items() if page.endswith("15_ms_grpo"))
    assert len(DEFAULT.findall(page)) > 20
    assert wrong_defaults(page) == []
    assert wrong_defaults(page.replace("| `groups` | 32 |", "| `groups` | 16 |")) == ["groups"]


def test_the_lines_of_the_code_of_ms_grpo_are_found() -> None:
    (page,) = (text for page, text in theory.theory_pages().items() if page.endswith("15_ms_grpo"))
    (block,) = re.findall(r"```\{code-lines\}\n(.*?)```", page, re.DOTALL)
    rows = theory.code_rows(block.split())
    assert len(rows) > 5
    for name, place in rows:
        file, first, last = re.split(", lines | to ", place)
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(first) - 1 : int(last)]
        assert re.match(rf" *(def|class) {name.rpartition('.')[2]}\b", lines[0]) and len(lines) > 3
    with pytest.raises(KeyError):
        theory.code_rows(["algorithms.MSGRPOTrainer.nothing"])


# ---- the notation: each symbol of a formula is in the table, with one meaning

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "varepsilon",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
]
WORDS = re.compile(r"\\(?:text|mathrm|mathtt|operatorname|begin|end|tag)\{[^}]*\}")
SYMBOL = re.compile(
    r"\\(?:tilde|bar|hat|mathcal|mathbb)\s*(?:\{[^{}]*(?:\{\w\})?\}|\\?[A-Za-z]+)|\\[A-Za-z]+|[A-Za-z]"
)
MATH = re.compile(r"\$\$(.*?)\$\$|\$([^$\n]+)\$", re.DOTALL)


def symbols(text: str) -> set[str]:
    """The letters of a page's formulas, with the marks on them; words and commands that are no letters left out."""
    code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    formulas = [WORDS.sub(" ", "".join(match)) for match in MATH.findall(code)]
    found = {re.sub(r"[{}\s]", "", one) for formula in formulas for one in SYMBOL.findall(formula)}
    marked = re.compile(r"\\(?:tilde|bar|hat|mathcal|mathbb)")
    return {x for x in found if x[0] != "\\" or x[1:] in GREEK or marked.match(x)}


def notation() -> str:
    """The page of the notation."""
    (page,) = (text for page, text in theory.written_pages().items() if "notation.md" in page)
    return page


def table_of(page: str) -> list[str]:
    """The first column of the tables, but of that of the axes."""
    return re.findall(r"^\| (.*?) \| ", page.partition("## Axis suffixes")[0], re.MULTILINE)


def test_every_symbol_of_a_formula_is_in_the_notation() -> None:
    table = table_of(notation())
    known = symbols("\n".join(table))
    unknown = {page: symbols(text) - known for page, text in theory.written_pages().items()}
    assert {name: found for name, found in unknown.items() if found} == {}


def test_a_symbol_of_the_notation_has_one_meaning() -> None:
    table = table_of(notation())
    entries = [entry for row in table for entry in re.findall(r"\$[^$]+\$", row)]
    assert [entry for entry in entries if entries.count(entry) > 1] == []
    for letter in ("K", "n", "T", "q", "u", "\\pi", "\\kappa", "\\xi", "\\sigma", "d", "m", "J"):
        assert sum(letter in symbols(row) for row in table) == 1, letter
    assert "D" not in symbols("\n".join(table))


def test_letters_are_read_from_formulas() -> None:
    text = "$\\mathrm{KL}_l = \\exp(d)$ and $$\n\\tilde{\\mathbb{E}}[\\bar\\rho] \\le \\mathcal{K}^N\n$$ `$Q$`"
    assert symbols(text) == {"l", "d", "\\tilde\\mathbbE", "\\bar\\rho", "\\mathcalK", "N"}

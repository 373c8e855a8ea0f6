"""What the site holds: every public name, module, game, command and metric has its place. `make docs` builds it."""

import importlib
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest
from typeguard import suppress_type_checks

from sitegen import (
    api,
    api_pages,
    diagram,
    docstrings,
    drawing,
    experiment,
    game_pages,
    links,
    pictures,
    public,
    terms,
)
from sitegen.citing import CITE, INDEX
from sitegen.commands import COMMANDS, SETTINGS, command_pages, commands
from sitegen.project_pages import COPIED, turned, within_site
from tests.pages import blocks_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = ("reference/api/", "reference/games/", "project/", "_build/", "sitegen/")


# ---- the API


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return api_pages.api_pages()


def packages_on_disk() -> list[str]:
    """All packages and rooms, as the folders hold them."""
    files = [f for p in api.PACKAGES for f in (ROOT / p).rglob("__init__.py")]
    names = [".".join(f.parent.relative_to(ROOT).parts) for f in files]
    return sorted(name for name in names if not re.search(r"(^|\.)_", name))


def test_every_exported_name_is_on_a_page_and_no_internal_one(pages: dict[str, str]) -> None:
    for package in packages_on_disk():
        names = getattr(importlib.import_module(package), "__all__", ())
        assert api_pages.undescribed(pages, package, names) == []
    assert api_pages.described(pages) == {*public.public(), *public.public_modules()}
    assert {"tsmg.runner.play", "proofs.statement.statement"} < public.public()
    assert not {"lap.engine.trie_attention", "algorithms.cli.train"} & {*public.public_modules()}


def test_names_that_pages_speak_of_are_read() -> None:
    text = "`tsmg.runner.play`, `tsmg.nothing(x)`\n>>> from lap.parsers import TagParser, Parser\nimport os\n"
    assert public.spoken_of(text) == {
        "tsmg.runner.play",
        "tsmg.nothing",
        "lap.parsers.TagParser",
        "lap.parsers.Parser",
    }


def test_a_term_is_found_on_the_page_that_defines_it() -> None:
    assert "leave-one-out" in terms.defined_on("theory/06_baselines_and_std")
    assert "matchup" in terms.defined_on("how_to/self_play")
    assert all((DOCS / f"{page}.md").is_file() for page in terms.pages_of_terms().values())


def test_a_name_without_a_page_is_noticed(pages: dict[str, str]) -> None:
    page = api.page_of("tsmg.runner")
    cut = {**pages, page: pages[page].replace(".. autofunction:: tsmg.runner.play\n", "")}
    assert api_pages.undescribed(cut, "tsmg", ["play", "make"]) == ["tsmg.play"]
    assert api_pages.undescribed(cut, "tsmg.runner", ["play"]) == ["tsmg.runner.play"]
    page = api.page_of("tsmg.text")
    cut = {**pages, page: pages[page].replace(".. py:data:: TextOutcome\n", "")}
    assert api_pages.undescribed(cut, "tsmg", ["TextOutcome"]) == ["tsmg.TextOutcome"]
    assert api_pages.undescribed(pages, "tsmg", ["nothing"]) == ["tsmg.nothing"]


def test_every_exported_name_is_reached_from_its_package(pages: dict[str, str]) -> None:
    for package in api.PACKAGES:
        for name in api.exported(package):
            assert f"<{api.home(package, name)}.{name}>`" in pages[api.page_of(package)]


def test_names_in_a_source() -> None:
    source = (
        'T = TypeVar("T")\nA, B = 1, 2\n"""Told."""\n_c = 1\ndef f():\n "Does."\nclass _G: pass\n'
    )
    names = [(n.name, n.kind, n.summary) for n in api.names_in(source)]
    assert names == [("A", "data", "Told."), ("B", "data", "Told."), ("f", "function", "Does.")]


# ---- docstrings


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("p = |A|, a_e and ``|x|``", "p = \\|A\\|, a_e and ``|x|``"),
        ("the *other* one, 2 * 3", "the *other* one, 2 \\* 3"),
        ("rewards_ and _private", "rewards\\_ and _private"),
    ],
)
def test_only_literals_and_emphasis_are_markup(written: str, shown: str) -> None:
    assert api.escaped(written) == shown


def test_what_a_game_tells_of_itself_may_take_several_lines() -> None:
    lines = ["Take objects.", "", "Agents: two.", "Exact values: the nim-sum", "decides."]
    told = ["* **Agents:** two.", "* **Exact values:** the nim-sum", "  decides.", ""]
    assert docstrings.readable(lines) == ["Take objects.", "", *told]


def test_docstrings_keep_examples_and_layout() -> None:
    lines = ["Sums |x|.", "", "file    what it is", "", "Example:", "  >>> abs(-1) | 0", "  1"]
    assert docstrings.readable(lines)[0] == "Sums \\|x\\|."
    assert "    file    what it is" in docstrings.readable(lines)
    assert "  >>> abs(-1) | 0" in docstrings.readable(lines)
    together = ["Attributes:", "  a, b: one", "    line.", "  c: two."]
    assert docstrings.readable(together)[1:6] == [
        "  a: one",
        "    line.",
        "  b: one",
        "    line.",
        "  c: two.",
    ]


# ---- games

OPTIONAL = {"Metrics", "Horizon", "Exact values", "Transcript", "Version history"}


@pytest.mark.parametrize("spec", game_pages.shipped(), ids=lambda spec: spec.id)
def test_a_game_has_a_page_under_fixed_headings(spec) -> None:
    assert empty_headings("\n".join(game_pages.page_lines(spec, exact=False))) == []
    described = game_pages.sections(game_pages.docstring_of(spec))
    assert set(game_pages.HEADINGS) - set(described) <= OPTIONAL


def empty_headings(page: str) -> list[str]:
    """The fixed headings that a page of a game lacks, or under which it says nothing."""
    parts = re.split(r"^## (.*)$", page, flags=re.M)
    described = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))
    return [heading for heading in game_pages.HEADINGS if not described.get(heading)]


def test_an_empty_heading_is_noticed() -> None:
    (spec,) = (s for s in game_pages.shipped() if s.id == "KuhnPoker-v0")
    page = "\n".join(game_pages.page_lines(spec))
    states = page.partition("## States\n")[2].partition("\n## ")[0]
    assert empty_headings(page.replace(states, "\n")) == ["States"]
    assert empty_headings(page.replace("## Rewards", "## Payment")) == ["Rewards"]


def test_versions_of_a_game_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = (s for s in game_pages.shipped() if s.id == "KuhnPoker-v0")
    assert "`KuhnPoker-v0` is the only version so far." in list(game_pages.page_lines(spec))
    newer = attrs.evolve(spec, id="KuhnPoker-v1")
    monkeypatch.setattr(game_pages, "shipped", lambda: [spec, newer])
    listed = "Versions: [KuhnPoker-v0](KuhnPoker-v0.md), [KuhnPoker-v1](KuhnPoker-v1.md)."
    assert listed in list(game_pages.page_lines(spec, exact=False))


def test_a_page_lists_twenty_actions_at_most() -> None:
    (spec,) = (s for s in game_pages.shipped() if s.id == "Mastermind-v0")
    (line,) = (
        line
        for line in game_pages.page_lines(spec, exact=False)
        if line.startswith("Legal actions at the start: ")
    )
    assert line.count("`") == 2 * 20 and line.endswith("`, ... 1,296 in all.")


def test_a_game_that_ships_has_a_page_and_others_have_none() -> None:
    import games

    ids = {spec.id for spec in game_pages.shipped()}
    listed = "\n".join(game_pages.index_lines())
    assert ids >= {s.id for s in games.registered() if s.build.__module__.startswith("games.")}
    assert all(f"[{id}]({id}.md)" in listed for id in ids)


# ---- commands and settings


def test_every_command_and_option_is_told() -> None:
    from algorithms import MSGRPOConfig, RunConfig

    made = command_pages()
    assert {"aaw-map", "lab", "prove", "train"} <= set(commands())
    for name, command in commands().items():
        part = made[COMMANDS].partition(f"## tsmg {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"`{option}`" in part + (made[SETTINGS] if name == "train" else "")
    for config in (MSGRPOConfig, RunConfig):
        for field in attrs.fields(config):
            assert field.metadata["help"].replace("|", "\\|") in made[SETTINGS]


# ---- contents


def entries(index: str) -> list[str]:
    """What the contents list."""
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


def left_out(listed: list[str], written: list[str]) -> list[str]:
    """Pages that no entry of the contents names."""
    return [p for p in written if not any(Path(p).match(entry) for entry in listed)]


def written_pages() -> list[str]:
    """The pages that are written by hand, without their ending."""
    files = [f.relative_to(DOCS) for f in sorted(DOCS.rglob("*.md"))]
    names = [f.as_posix() for f in files if not f.as_posix().startswith(GENERATED)]
    return [n.removesuffix(".md") for n in names if n not in ("index.md", COMMANDS, SETTINGS)]


def test_every_page_is_in_the_contents_and_every_entry_exists() -> None:
    listed = entries((DOCS / "index.md").read_text(encoding="utf-8"))
    made = {api.page_of(p): "" for p in api.PACKAGES} | dict.fromkeys(
        [CITE, INDEX, COMMANDS, SETTINGS, *COPIED.values(), f"{game_pages.FOLDER}/index.md"], ""
    )
    known = {*written_pages(), *(str(Path(path).with_suffix("")) for path in made)}
    assert left_out(listed, written_pages()) == []
    assert [e for e in listed if "*" not in e and e not in known] == []
    assert [
        str(Path(path).with_suffix(""))
        for path in made
        if str(Path(path).with_suffix("")) not in listed
    ] == []


def test_a_page_outside_of_the_contents_is_noticed() -> None:
    listed = entries("```{toctree}\n:glob:\n\nstyle\ntheory/[0-9]*\n```\n")
    assert listed == ["style", "theory/[0-9]*"]
    assert left_out(listed, ["style", "theory/1_game", "theory/lost"]) == ["theory/lost"]


def test_generated_pages_are_not_committed() -> None:
    done = subprocess.run(
        ["git", "ls-files", *(f"docs/{page}" for page in (*GENERATED[:-1], COMMANDS, SETTINGS))],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""


def test_links_of_copied_pages_are_turned() -> None:
    assert turned("[a](docs/style.md) [b](CHANGELOG.md)") == "[a](../style.md) [b](changelog.md)"
    assert within_site("[a](../CONTRIBUTING.md)", 0) == "[a](project/contributing.md)"
    assert within_site("[a](../../CHANGELOG.md)", 1) == "[a](../project/changelog.md)"


# ---- pictures


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n == "kuhn-estimators" else ())
        for n in sorted(pictures.PICTURES)
    ],
)
@suppress_type_checks
def test_a_picture_is_drawn_in_the_colour_of_the_text(name: str) -> None:
    drawn = pictures.svg(name, "what <it> shows")
    (root,) = ET.fromstring(drawn)
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == "what <it> shows"
    assert "currentColor" in drawn and drawing.INK not in drawn
    assert "<style" not in drawn and not re.search(r"fill: ?#(000000|ffffff)", drawn)
    ids = set(re.findall(r'id="([^"]+)"', drawn))
    assert all(id.startswith(f"{name}-") for id in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', drawn)) <= ids


def test_a_picture_is_drawn_the_same_again() -> None:
    assert pictures.svg("default-run", "words") == pictures.svg("default-run", "words")


def test_every_picture_stands_on_a_page_with_words() -> None:
    pages = [DOCS / f"{page}.md" for page in ("index", *written_pages())]
    blocks = [b for page in pages for b in blocks_of(page.read_text(encoding="utf-8"))]
    shown = {b.language.split()[1]: b.code for b in blocks if b.language.startswith("{picture}")}
    assert set(shown) == set(pictures.PICTURES)
    assert all(len(words.split()) > 20 for words in shown.values())


def test_what_the_pictures_pages_say() -> None:
    last = pictures.read_lines(pictures.DATA)[-1]
    assert (last["eval/reward"], last["eval_greedy/reward"]) == (0.9733, 0.9833)
    assert [round(pictures.risky_cosine(p, "population"), 3) for p in (0.1, 0.3, 0.4, 0.5)] == [
        1,
        -1,
        -1,
        1,
    ]
    assert round(pictures.risky_cosine(0.3, "none"), 3) == 1


def test_the_experiments_runs_are_compared_in_pairs_that_share_a_start() -> None:
    started = {
        arm: [
            rates[0] for _, rates in experiment.curves_of("lake", arm, experiment.SUCCESS).values()
        ]
        for arm in experiment.ARMS
    }
    assert len({tuple(rates) for rates in started.values()}) == 1 and len(started["aaw"]) == 8
    primary = experiment.comparisons()["success"][0]
    assert primary.label == "lake, area: uniform"
    found = [round(value, 3) for value in attrs.astuple(primary.difference)[:3]]
    assert found == [0.018, -0.005, 0.041]


def test_what_a_picture_of_a_run_keeps(tmp_path: Path) -> None:
    line = '{"update": 3.0, "reward": 0.123456, "kl": 1.0, "entropy": null}'
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    assert pictures.kept(tmp_path) == '{"update": 3.0, "reward": 0.1235}\n'


# ---- the picture of the rooms


def test_rooms_import_downward_and_no_modules_import_each_other() -> None:
    assert diagram.upward(diagram.imports()) == []
    assert diagram.circles(diagram.module_imports()) == []


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {diagram.room_of(module) for module in diagram.modules()}
    assert rooms - {"algorithms", "proofs"} <= set(diagram.ORDER)
    level = diagram.levels(diagram.drawn(diagram.imports()))
    assert level["tsmg"] == 0 < level["algorithms.method"] < level["algorithms.cli"]
    assert all(f">{room.rpartition('.')[2]}</text>" in diagram.svg() for room in level)


def test_the_picture_follows_the_imports() -> None:
    edges = diagram.imports()
    assert ("algorithms.distributed", "algorithms.method") in diagram.drawn(edges)
    assert ("algorithms.cli", "algorithms.method") in edges
    assert ("algorithms.cli", "algorithms.method") not in diagram.drawn(edges)  # by way of others
    assert not any(a.startswith("algorithms") and b == "games" for a, b in edges)


def test_an_upward_import_and_a_circle_are_noticed() -> None:
    edges = {("algorithms.method", "algorithms.runs"): ("a",), ("lap", "tsmg"): ("b",)}
    assert diagram.upward(edges) == [("algorithms.method", "algorithms.runs")]
    assert diagram.drawn(edges) == [("lap", "tsmg")]
    modules = {
        "a": frozenset({"b"}),
        "b": frozenset({"c"}),
        "c": frozenset({"a"}),
        "d": frozenset({"a"}),
    }
    assert diagram.circles(modules) == [("a", "b", "c")]


def test_imports_are_read_from_the_source() -> None:
    source = (
        "import os, lap\nif TYPE_CHECKING:\n    import proofs\n"
        "def f():\n    from tsmg.text import Parsed\n    from lap import models\n"
    )
    assert diagram.imported(source) == {"lap", "tsmg.text", "lap.models"}
    assert diagram.room_of("lap.models.tabular") == "lap.models"
    assert diagram.room_of("lap.prompts") == "lap"


# ---- links of a built site


def test_broken_links_and_foreign_resources_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="b.html#here">b</a>')
    (tmp_path / "b.html").write_text(
        '<h1 id="here"></h1><a href="a.html">a</a><a href="https://x.y">x</a>'
    )
    assert links.broken(tmp_path) == [] and links.main(str(tmp_path)) == 0
    (tmp_path / "c.html").write_text(
        '<a href="a.html#gone"></a><a href="d.html"></a><script src="https://x.y/z.js"></script>'
    )
    assert links.broken(tmp_path) == [
        "c.html: a.html#gone",
        "c.html: d.html",
        "c.html: loads https://x.y/z.js",
    ]
    assert links.main(str(tmp_path)) == 1


# ---- metrics


def keys(page: str, *titles: str) -> set[str]:
    """The names in the first column of the tables under these headings."""
    parts = re.split(r"^## (.*)$", page, flags=re.M)
    by_title = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {
        name for title in titles for name in re.findall(r"^\| `([\w/]+)` \|", by_title[title], re.M)
    }


def test_the_page_of_metrics_lists_what_is_written() -> None:
    from algorithms import MSGRPOTrainer
    from algorithms.training.metrics import evaluation_metrics
    from games import make
    from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel, WholeReplyParser
    from tests.runs import SMALL_RUN

    page = (DOCS / "reference/metrics.md").read_text(encoding="utf-8")
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(),
        model=TabularModel(vocabulary=("heads", "tails")),
        parser=WholeReplyParser(),
    )
    trainer = MSGRPOTrainer(game=make("MatchingPennies-v0"), policy=policy, config=SMALL_RUN)
    done = trainer.update()
    evaluated = evaluation_metrics(trainer.evaluate(64), "eval")  # in a few, no round may be paid

    def generic(names: object) -> set[str]:
        agents = {re.sub(r"/(row|column)$", "/AGENT", str(name)) for name in names}
        return {re.sub(r"game/regret$", "game/NAME", name) for name in agents}

    updates = keys(page, "What was played", "What was learnt from", "Coverage of starts")
    assert updates == generic(done.metrics)
    assert {f"eval/{key}" for key in keys(page, "Evaluations")} == generic(evaluated)
    assert keys(page, "Timings") == generic(done.seconds)


def test_a_metric_that_is_not_written_is_noticed() -> None:
    page = "## A\n| `x` | told |\n| `y/AGENT` | told |\n## B\n| `z` | told |\n"
    assert keys(page, "A") == {"x", "y/AGENT"} and keys(page, "A", "B") - keys(page, "A") == {"z"}


def test_the_page_of_metrics_lists_what_several_epochs_add() -> None:
    from algorithms import MSGRPOTrainer
    from games import make
    from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel, WholeReplyParser
    from tests.runs import SMALL_RUN

    page = (DOCS / "reference/metrics.md").read_text(encoding="utf-8")
    policy = LanguageAgentPolicy(
        prompt=MemorylessPrompt(),
        model=TabularModel(vocabulary=("left", "right")),
        parser=WholeReplyParser(),
    )
    game = make("LineWalk-v0", length=3, horizon=2)
    once, twice = (
        set(MSGRPOTrainer(game=game, policy=policy, config=config).update().metrics)
        for config in (SMALL_RUN, attrs.evolve(SMALL_RUN, epochs=2))
    )
    assert keys(page, "How far ratios go") == twice - once


# ---- formulas


@pytest.mark.parametrize(
    ("written", "drawn"),
    [
        (r"\operatorname{std}(R)", "<mi>std</mi><mo ...>(</mo><mi>R</mi>"),
        (r"R \log p", "<mi>R</mi><mspace .../><mi>log</mi><mspace .../><mi>p</mi>"),
        (
            r"2 \log_2 x",
            "<mn>2</mn><mspace .../><msub><mi>log</mi><mn>2</mn></msub><mspace .../><mi>x</mi>",
        ),
        (r"a |b| c", "<mi>a</mi><mo ...>|</mo><mi>b</mi><mo ...>|</mo><mi>c</mi>"),
    ],
)
def test_names_of_functions_stand_off_but_not_from_brackets(written: str, drawn: str) -> None:
    mathml = pytest.importorskip("sitegen.mathml", reason="what draws formulas is not installed")
    found = mathml.spaced(mathml.convert(written))
    assert drawn in re.sub(r"<(mo|mspace) [^>]*?(/?)>", r"<\1 ...\2>", found)
    sides = re.findall(r' ([lr]space)="0"', found)
    assert sides == (["rspace", "lspace"] if "|" in written else [])

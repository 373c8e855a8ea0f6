"""The report's page: what it says, that it loads nothing, and that texts of games and models stay texts."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources

import pytest
from click.testing import CliRunner

from algorithms.analysis.report import report_content, report_markdown, report_page
from algorithms.analysis.report.charts import COLOURS, Chart, group_curve, svg
from algorithms.analysis.report.texts import LONGEST, embedded_json, shown_text
from algorithms.cli.main import main
from algorithms.runs.reader import read_runs
from tests.run_folders import episode, write_run

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\x1b[2J\u2028\u202e&amp;\ud800"
SHOWN = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"
    "\\x1b[2J\\u2028\\u202e&amp;\\ud800"
)


class Page(HTMLParser):
    """The elements of a page, as a browser's parser sees them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.lasttag == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def page_of(*folders, **options):
    return report_page(report_content(*read_runs(folders), **options))


def hostile(folder):
    """A run whose every text tries to be more than a text."""
    step = episode()["steps"][0]
    agent = {**step["agents"][0], "observation": EVIL, "reply": EVIL, "agent": "player"}
    agent["completions"] = [{"ids": [1], "logprobs": [-0.5], "texts": [EVIL], "finished": True}]
    told = episode(
        steps=[{**step, "agents": [agent]}], ending=EVIL, final_observations={"player": EVIL}
    )
    path = write_run(folder, episodes=(told,), note=EVIL)
    config = json.loads((path / "config.json").read_text())
    config["spec"]["game"]["id"] = EVIL
    config["spec"]["labels"] = {"title": EVIL, "arm": EVIL}
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_hostile_texts_are_shown_and_never_obeyed(tmp_path):
    text = page_of(hostile(tmp_path / "run"))
    page = Page(text)
    assert page.tags.count("script") == 2 and "img" not in page.tags
    data = json.loads(page.scripts[0])
    shown = data[0]["steps"][0]["agents"][0]
    assert shown["observation"] == shown["reply"] == shown["tokens"][0][0] == SHOWN
    assert data[0]["final"] == {"player": SHOWN} and data[0]["arm"] == SHOWN
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert SHOWN in page.text  # title, game, note
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", text
    )


def test_the_page_loads_nothing_and_runs_its_own_script_alone(tmp_path):
    write_run(tmp_path / "run", episodes=(episode(),))
    text = page_of(tmp_path)
    page = Page(text)
    wanted = [(n, v) for _, n, v in page.attributes if n in ("src", "href", "xlink:href", "action")]
    assert all(value.startswith("#") for _, value in wanted)
    assert not re.search(r"url\((?!['\"]?#)|@import", text)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    policy = next(v for _, n, v in page.attributes if n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_embedded_json_is_json_and_texts_keep_what_can_be_seen():
    for value in (EVIL, {"a": [1.5, None, True, "<>&\u2029"]}):
        made = embedded_json(value)
        assert json.loads(made) == value and not re.search("[<>&\u2028\u2029]", made)
    assert shown_text("a\tb\n\u00e9 \u4e2d \U0001f40d") == "a\tb\n\u00e9 \u4e2d \U0001f40d"
    assert shown_text("x" * (LONGEST + 7)).endswith("xx ... (7 more characters)")


def test_the_answer_comes_first(tmp_path):
    for seed, end in enumerate((0.95, 0.9)):
        write_run(tmp_path / str(seed), seed=seed, successes=(0.2, 0.9, end))
    said = Page(page_of(tmp_path)).text
    answer = said[said.index("2 runs") :]
    assert answer.startswith(
        "2 runs Improved 0.200 \u2192 0.925 success before 0.200 [0.200, 0.200]"
    )
    assert "95% intervals over 2 runs (percentile bootstrap): with so few runs" in said
    assert said.index("uniform player") < said.index("scripted player") < said.index("Curves")
    assert "exact optimum 0.990" in said


@pytest.mark.parametrize(
    ("successes", "verdict"),
    [
        ((0.2, 0.95), "Improved"),
        ((0.95, 0.2), "Got worse"),
        ((0.5, 0.55), "No clear change"),
    ],
)
def test_the_verdict_looks_at_intervals(tmp_path, successes, verdict):
    write_run(tmp_path / "run", successes=successes)
    (answer,) = report_content(*read_runs([tmp_path])).answers
    assert answer.verdict == verdict and "episodes of one run (Wilson)" in answer.interval


def test_a_policy_that_was_only_evaluated_is_not_called_trained(tmp_path):
    write_run(tmp_path / "run", successes=(0.5,))
    (answer,) = report_content(*read_runs([tmp_path])).answers
    assert answer.verdict == "Not trained" and answer.final.startswith("0.500 [")
    assert [bar.name for bar in answer.bars if bar.kind != "reference"] == ["this policy"]
    text, page = report_markdown(report_content(*read_runs([tmp_path]))), page_of(tmp_path)
    assert "before training" not in text and "before 0.500" not in page
    described = {"scenario": "ice", "trained_on": "lake", "trained_updates": 3}
    write_run(tmp_path / "moved", successes=(0.5,), described=described)
    (moved,) = report_content(*read_runs([tmp_path / "moved"])).answers
    assert moved.verdict == "Trained on lake, not here"


def test_a_clone_that_did_not_converge_is_called_so(tmp_path):
    for name, player, distance in (
        ("small", "scripted", 0.008),
        ("large", "scripted", 0.007),
        ("wild", "scripted", 0.03),
        ("optimal", "optimal", 0.045),
        ("lost", "other", 0.48),
    ):
        described = {"scenario": "lake", "arm": name, "player": player}
        described["cloning"] = {"divergence": distance}
        write_run(tmp_path / name, successes=(0.5,), described=described)
    write_run(tmp_path / "no clone", described={"scenario": "lake", "arm": "trained"})
    (note,) = report_content(*read_runs([tmp_path]), by="arm").notes
    assert "large 0.007, lost 0.480, optimal 0.045, small 0.008, wild 0.030. " in note
    assert note.endswith("Not converged: lost, wild.")
    (note,) = report_content(*read_runs([tmp_path / "small", tmp_path / "large"]), by="arm").notes
    assert "Not converged" not in note


def test_the_temperature_that_was_chosen_for_a_baseline_is_told(tmp_path):
    for seed, temperature in enumerate((0.0, 0.5)):
        decoding = {"temperature": temperature, "tried": {"0.0": 0.54, "0.5": 0.37 + seed}}
        described = {"arm": "large", "scenario": "lake", "decoding": decoding}
        write_run(tmp_path / str(seed), seed=seed, successes=(0.5,), described=described)
    untried = {"temperature": 1.0, "tried": {}}
    for name, decoding in (("a", untried), ("b", ["1"]), ("c", {"tried": 3})):
        described = {"arm": name, "scenario": "lake", "decoding": decoding}
        write_run(tmp_path / name, successes=(0.5,), described=described)
    notes = report_content(*read_runs([tmp_path])).notes
    assert notes == (
        "lake, large, seed 0: temperature 0.0, chosen by the mean return of other episodes (0.54 at 0.0, 0.37 at 0.5).",
        "lake, large, seed 1: temperature 0.5, chosen by the mean return of other episodes (0.54 at 0.0, 1.37 at 0.5).",
    )


def test_what_is_unfinished_or_unreadable_is_marked_and_the_rest_is_there(tmp_path):
    write_run(tmp_path / "a")
    cut = write_run(tmp_path / "b", seed=1)
    (cut / "metrics.jsonl").write_text((cut / "metrics.jsonl").read_text()[:-900])
    (write_run(tmp_path / "c") / "config.json").write_text("{")
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    said = Page((tmp_path / "report.html").read_text()).text
    assert "is malformed" in said and "Improved" in said and "2 runs" in said


def test_a_run_without_baselines_or_transcripts_has_a_page(tmp_path):
    """As runs were recorded before there were any."""
    path = write_run(tmp_path / "run")
    config = json.loads((path / "config.json").read_text())
    del config["baselines"]
    (path / "config.json").write_text(json.dumps(config))
    (path / "evaluations.jsonl").unlink()
    (path / "episodes.jsonl").unlink()
    said = Page(page_of(path)).text
    assert "Improved" in said and "keep no transcripts" in said and "uniform player" not in said


def test_transcripts_without_tokens_are_told_by_their_replies(tmp_path):
    old = episode()
    del old["steps"][0]["agents"][0]["completions"], old["agents"], old["successes"]
    write_run(tmp_path / "run", episodes=(old,))
    (told,) = report_content(*read_runs([tmp_path])).episodes
    agent = told["steps"][0]["agents"][0]
    assert agent["tokens"] == [] and agent["probability"] == pytest.approx(0.497, abs=1e-3)
    assert told["success"] is None and told["steps"][0]["rewards"] == {"player": 1.0}


def test_calls_that_are_no_records_have_no_tokens(tmp_path):
    line = episode()
    line["steps"][0]["agents"][0]["completions"] = ["ids", 1, None, {"ids": [7], "logprobs": [0.0]}]
    write_run(tmp_path / "run", episodes=(line,))
    (told,) = report_content(*read_runs([tmp_path])).episodes
    assert told["steps"][0]["agents"][0]["tokens"] == [["#7", 1.0]]


def test_the_viewer_takes_the_last_evaluation_and_a_spread_of_training(tmp_path):
    training = [episode(update=u) for u in range(1, 101)]
    last = [episode(update=100, phase="evaluation", group=g) for g in range(10)]
    write_run(tmp_path / "run", episodes=(*training, *last))
    told = report_content(*read_runs([tmp_path]), episodes=8).episodes
    assert len(told) == 8 and [e["phase"] for e in told].count("evaluation") == 4
    assert [e["update"] for e in told if e["phase"] == "training"] == [100, 75, 50, 25]
    assert report_content(*read_runs([tmp_path]), episodes=0).episodes == ()


def test_curves_are_means_over_runs_with_bands(tmp_path):
    for seed, end in enumerate((0.5, 0.7, 0.9)):
        write_run(tmp_path / str(seed), seed=seed, successes=(0.2, end))
    content = report_content(*read_runs([tmp_path]))
    (group,) = content.panels[0].groups
    curve = group_curve(group, "eval/success_rate")
    assert curve.updates == (0, 5) and curve.mean == pytest.approx((0.2, 0.7))
    assert curve.best == (0.2, 0.9) and curve.low == pytest.approx((0.2, 0.5))
    drawn = svg(
        Chart(title="A & B", metric="eval/success_rate", lines=(("optimum", 1.0),)), [group]
    )
    assert drawn.startswith("<svg") and 'aria-label="A &amp; B"' in drawn
    assert "var(--c0)" in drawn and "var(--ink)" in drawn and "#fe0" not in drawn
    assert svg(Chart(title="nothing", metric="colour"), [group]) is None
    odd = Chart(title="runs/run_$1_$", metric="eval/success_rate")
    assert "run_$1_$" in svg(odd, [group])


def test_markdown_and_picture(tmp_path):
    write_run(tmp_path / "runs" / "0", sampling="aaw")
    write_run(tmp_path / "runs" / "1", sampling="$x_", title="b")
    page, tables, png = (str(tmp_path / f"out.{end}") for end in ("html", "md", "png"))
    arguments = ["report", str(tmp_path / "runs"), "--output", page, "--markdown", tables]
    result = CliRunner().invoke(main, [*arguments, "--png", png])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out.md").read_text()
    assert "Improved: success 0.200 [0.081, 0.416] before training, 0.950" in text
    assert "| group | runs |" in text and "P(first ends higher)" in text
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "runs" / "report.html").exists()


def test_the_same_runs_give_the_same_page(tmp_path):
    for seed in range(3):
        write_run(tmp_path / str(seed), seed=seed, episodes=(episode(),))
    assert page_of(tmp_path) == page_of(tmp_path)
    content = report_content(*read_runs([tmp_path]))
    assert report_markdown(content) == report_markdown(content)


def test_where_a_page_cannot_be_written_one_sentence_says_so(tmp_path):
    write_run(tmp_path / "run")
    result = CliRunner().invoke(
        main, ["report", str(tmp_path / "run"), "--output", str(tmp_path / "no" / "page.html")]
    )
    assert result.exit_code == 2 and "the report cannot be written" in result.output


# ---- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WRAPPER = """<!doctype html><pre id="result">nothing</pre><iframe id="frame" style="width:390px;height:900px"></iframe>
<script>
const frame = document.getElementById("frame");
const text = (id) => frame.contentDocument.getElementById(id).textContent;
const press = (id) => frame.contentDocument.getElementById(id).click();
function pick(id, name) {
  const select = frame.contentDocument.getElementById(id);
  select.value = [...select.options].find((option) => option.textContent.startsWith(name)).value;
  select.dispatchEvent(new Event("change"));
}
window.alerts = 0;
frame.onload = () => {
  frame.contentWindow.alert = () => { window.alerts += 1; };
  const root = frame.contentDocument.documentElement;
  const found = { width: root.scrollWidth, room: root.clientWidth, seen: [] };
  const see = () => found.seen.push([text("summary"), text("place"), text("stage")]);
  STEPS
  found.alerts = window.alerts;
  found.scripts = frame.contentDocument.scripts.length;
  document.getElementById("result").textContent = JSON.stringify(found);
};
frame.srcdoc = PAGE;
</script>"""


def browse(page, steps, tmp_path):
    """What a headless Chromium finds on a page, in a frame as wide as a phone, after some clicks."""
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.replace("STEPS", steps).replace("PAGE", embedded_json(page)))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", wrapper.as_uri(),
        ],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_viewer_works_in_a_browser_as_narrow_as_a_phone(tmp_path):
    write_run(
        tmp_path / "good",
        episodes=(
            episode(),
            episode(update=3, successes={"player": False}, returns={"player": 0.0}),
        ),
    )
    hostile(tmp_path / "evil")
    page = page_of(tmp_path)
    steps = """
      see(); press("next-step"); see(); press("previous-step"); press("next-episode"); see();
      pick("filter-success", "no"); see(); pick("filter-success", "all");
      pick("filter-scenario", "FrozenLake"); see();
    """
    found = browse(page, steps, tmp_path)
    assert found["alerts"] == 0 and found["scripts"] == 2
    assert found["width"] <= found["room"]
    first, end, second, lost, lake = found["seen"]
    assert first[1] == "step 1 of 1" and SHOWN in first[2] and "0.61" in first[2]
    assert end[1] == "the end" and end[2].endswith("return 1")
    assert "return so far 1" in second[2] and "<action>" in second[2]
    assert "success: no" in lost[0] and "return 0" in lost[0]
    assert lake[0].startswith("FrozenLake-v0")


def test_the_page_has_every_colour_on_both_grounds():
    style = (resources.files("algorithms.analysis.report") / "templates" / "page.css").read_text()
    light = style.index("prefers-color-scheme: dark")
    for n, colour in enumerate(COLOURS):
        assert f"--c{n}: {colour};" in style[:light]
        assert f"--c{n}: " in style[light:]
    assert len(set(COLOURS)) == len(COLOURS) >= 8  # the arms of the paper's experiment


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ((0.5, 0.5, 0.55), "aaw ends higher (difference of final success 0.417"),
        ((0.9, 0.95, 1.0), "no clear difference"),
        ((1.0, 1.0, 1.0), "all ends higher"),
    ],
)
def test_which_of_two_groups_ends_higher(tmp_path, theirs, said):
    for seed, (end, other) in enumerate(zip((0.9, 0.95, 0.95), theirs, strict=True)):
        write_run(tmp_path / "a" / str(seed), seed=seed, successes=(0.2, end))
        write_run(tmp_path / "b" / str(seed), seed=seed, successes=(0.2, other), sampling="all")
    content = report_content(read_runs([tmp_path])[0], by="algorithm.sampling")
    (sentence,) = content.against
    assert said in sentence.replace("algorithm.sampling=", "")
    assert sentence in report_page(content).replace("&lt;", "<")
    assert sentence in report_markdown(content)


def test_one_run_against_another_tells_nothing_of_seeds(tmp_path):
    write_run(tmp_path / "a", successes=(0.2, 0.95))
    write_run(tmp_path / "b", successes=(0.2, 0.5), sampling="all")
    (sentence,) = report_content(read_runs([tmp_path])[0]).against
    assert "one run in a group tells nothing about another seed" in sentence

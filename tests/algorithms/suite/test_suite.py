"""The suite: what ships is sound, every pair is played once, and its table says what was played."""

import importlib
import itertools
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from algorithms.cli.main import main
from algorithms.play import optimum
from algorithms.suite import (
    Contestant,
    SuiteGame,
    play_suite,
    read_suite,
    results,
    shipped,
    suite_table,
)
from algorithms.training.game_spec import GameSpec
from algorithms.training.policy_spec import PolicySpec
from games import KuhnPoker, LineWalk, make
from lap import LanguageAgentPolicy, ModelError, ScriptedModel
from lap.models import hub
from tests.checkpoints import tiny_model
from tests.strategies import Countdown
from tsmg import Finite, InvalidArgumentError, Stream, UniformPlayer, register, registry

ROOT = Path(__file__).parents[3]
SUITE = attrs.evolve(read_suite(shipped()), episodes=12)
TWO = SUITE.only(("LineWalk-v0", "Nim-v0"))


@pytest.fixture
def count(monkeypatch):
    """The names of the games that are really played."""
    played, real = [], results.evaluate

    def counted(game, *arguments, **keywords):
        played.append(game.name)
        return real(game, *arguments, **keywords)

    monkeypatch.setattr(results, "evaluate", counted)
    return played


def players(*names):
    return [Contestant.named(name) for name in names]


# ---- what ships


def test_twelve_games_ship_four_of_each_level():
    levels = [game.level for game in SUITE.games]
    assert levels == ["easy"] * 4 + ["medium"] * 4 + ["hard"] * 4
    assert [game.source for game in SUITE.games if game.best == "known"] != []


def kuhn_return(role, plan):
    """The expected return of a plan (information to action) against uniform play."""
    game, total = KuhnPoker(), 0.0
    frontier = [(state, float(p)) for state, p in game.initial_state_dist().enumerate()]
    while frontier:
        state, p = frontier.pop()
        for agent in game.acting_agents(state):
            actions = game.legal_actions(state, agent)
            if agent == role:
                chosen = {plan[game.information_key(state, agent)]: 1.0}
            else:
                chosen = dict.fromkeys(actions, 1 / len(actions))
            for action, q in chosen.items():
                for after, r in game.transition_dist(state, {agent: action}).enumerate():
                    total += p * q * float(r) * after.rewards_N[game.agents.index(role)]
                    frontier.append((after.state, p * q * float(r)))
    return total


def test_the_best_play_of_kuhn_poker_against_uniform_play_is_that_of_the_best_plan():
    game, best = KuhnPoker(), []
    for role in game.agents:
        states = {s for s, _ in game.initial_state_dist().enumerate()}
        for _ in range(3):
            states |= {
                t.state
                for s in states
                for a in game.acting_agents(s)
                for action in game.legal_actions(s, a)
                for t, _ in game.transition_dist(s, {a: action}).enumerate()
            }
        keys = sorted(
            {game.information_key(s, role) for s in states if role in game.acting_agents(s)}
        )
        plans = itertools.product(("pass", "bet"), repeat=len(keys))
        best.append(max(kuhn_return(role, dict(zip(keys, p, strict=True))) for p in plans))
    (declared,) = SUITE.only(("KuhnPoker-v0",)).games
    assert declared.best_return == pytest.approx(sum(best) / 2)


@pytest.mark.slow
def test_the_best_play_of_small_connect_four_is_that_of_backward_induction(monkeypatch):
    monkeypatch.setattr(optimum, "STATE_LIMIT", 200_000)
    game = make("SmallConnectFour-v0")
    start = game.sample_initial_state(Stream("start"))
    found = [
        optimum.optimal_return(game, start, 16, agent=agent, others=game.scripted_player())
        for agent in game.agents
    ]
    (declared,) = SUITE.only(("SmallConnectFour-v0",)).games
    assert declared.best_return == pytest.approx(sum(found) / 2)


# ---- files


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"best": "known"}, "'best_return' and its 'source' must be given"),
        ({"best_return": 1.0, "source": "me"}, "must be given where 'best' is known"),
        ({"level": "harder"}, "'level' must be one of easy, medium, hard"),
        ({"opponent": "uniform"}, "must be none: LineWalk has 1 agents"),
        ({"best": "scripted"}, "LineWalk has no scripted player"),
        ({"game": {"id": "LineWlk-v0"}}, "LineWalk-v0"),
        ({"name": "other"}, "different names"),
        (
            {"game": {"id": "Werewolf-v0"}, "opponent": "scripted", "best": "scripted"},
            "must not have 'line': Werewolf does not list the actions of 'player_",
        ),
        ({"colour": 1}, "unknown key 'colour' in section 'games[0]'"),
    ],
)
def test_a_file_is_checked_before_anything_is_played(tmp_path, change, sentence):
    game = {"level": "easy", "name": "line", "game": {"id": "LineWalk-v0"}, **change}
    games = [game, {"level": "easy", "name": "other", "game": {"id": "FrozenLake-v0"}}]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"title": "mine", "games": games}))
    with pytest.raises(InvalidArgumentError) as caught:
        read_suite(file)
    assert sentence in str(caught.value) and "mine.json" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unifrom"], "did you mean 'uniform'"),
        (["./nowhere"], "no checkpoint at './nowhere'"),
        (["http://127.0.0.1:1"], "an endpoint is given as URL#model"),
        (["--only", "Chess-v0"], "the suite has no game 'Chess-v0'; there are LineWalk-v0"),
        (["--file", "nowhere.toml"], "'nowhere.toml' cannot be read"),
        (["uniform", "uniform"], "the policies must differ"),
        (["uniform", "nosuch"], "no checkpoint is called 'nosuch': there is no such folder"),
    ],
)
def test_bad_arguments_end_in_one_sentence(tmp_path, arguments, sentence):
    done = CliRunner().invoke(main, ["suite", "--output", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2 and sentence in done.output
    assert not (tmp_path / "out").exists()


# ---- play


def test_a_pair_is_played_once_and_again_where_what_determines_it_changes(tmp_path, count):
    first = play_suite(TWO, players("optimum"), tmp_path)
    assert count == ["LineWalk"] * 2 + ["Nim"] * 2  # uniform play is always added
    again = play_suite(TWO, players("uniform", "optimum"), tmp_path)
    assert len(count) == 4
    assert [one.played["optimum"] for one in again] == [one.played["optimum"] for one in first]
    play_suite(attrs.evolve(TWO, seed=1), players("optimum"), tmp_path)
    play_suite(attrs.evolve(TWO, episodes=13), players("optimum"), tmp_path)
    assert len(count) == 12
    for file in (tmp_path / "LineWalk-v0").glob("optimum-*.json"):
        file.write_text(file.read_text()[:-40])  # as a crash of the machine may leave it
    assert play_suite(TWO, players("optimum"), tmp_path) == [
        attrs.evolve(one, played={"optimum": one.played["optimum"]}) for one in first
    ]
    assert len(count) == 13


def test_a_builder_that_was_rewritten_or_registered_anew_is_another_game(tmp_path, monkeypatch):
    """Its class and its settings in the suite stay the same."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    seen = []
    for id, build in (("written_here:lake", "length=2"), ("written_here:lake", "length = 2")):
        (tmp_path / "written_here.py").write_text(
            f"import games\ndef lake(): return games.LineWalk({build})\n"
        )
        sys.modules.pop("written_here", None)
        importlib.invalidate_caches()
        seen.append(SuiteGame(level="easy", game=GameSpec(id=id, held_out=0.0)))
        seen[-1] = results.Place.of(SUITE, seen[-1]).identity()
    for length in (3, 4):
        registry._REGISTRY.pop("Anew-v0", None)
        register("Anew-v0", LineWalk, length=length)
        seen.append(SuiteGame(level="easy", game=GameSpec(id="Anew-v0", held_out=0.0)))
        seen[-1] = results.Place.of(SUITE, seen[-1]).identity()
    assert all(one != other for one, other in itertools.combinations(seen, 2))


def test_a_class_that_no_file_holds_is_known_by_its_code(monkeypatch):
    identities = []
    for text in ("near", "far", "far"):
        module = types.ModuleType("a_notebook")
        monkeypatch.setitem(sys.modules, "a_notebook", module)
        body = {"rules_text": eval(f"lambda self, agent: {text!r}"), "__module__": "a_notebook"}
        module.walk = type("Walk", (Countdown,), body)
        game = SuiteGame(level="easy", game=GameSpec(id="a_notebook:walk", held_out=0.0))
        identities.append(results.Place.of(SUITE, game).identity())
    assert identities[0] != identities[1] == identities[2]


def test_what_was_played_before_a_failure_is_kept_and_the_rest_goes_on(
    tmp_path, count, monkeypatch
):
    tiny_model().save_pretrained(tmp_path / "model")
    contestants = [Contestant.named(str(tmp_path / "model"))]

    def fail(self, *arguments, **keywords):
        raise ModelError("no memory is left")

    monkeypatch.setattr(PolicySpec, "build", fail)
    found = play_suite(TWO, contestants, tmp_path / "out")
    (name,) = {key for one in found for key in one.failed}
    assert [one.failed[name] for one in found] == ["no memory is left"] * 2
    table = suite_table(TWO, contestants, found)
    assert [row[5:] for row in table.rows] == [("failed", "-")] * 3
    assert len(count) == 2  # uniform play of both


def test_every_name_is_looked_up_once_before_the_first_game(tmp_path, count, monkeypatch):
    """The last of the policies is the one that is missing, and its name is near that of a folder."""
    asked, real = [], hub.get_hf_file_metadata

    def ask(url, **options):
        asked.append(url)
        return real(url, **options)  # tests are offline

    monkeypatch.setattr(hub, "get_hf_file_metadata", ask)
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained(tmp_path / "trained")
    contestants = players("uniform", "scripted", "trained", "trainde")
    with pytest.raises(ModelError, match=r"called 'trainde'.* did you mean 'trained'\?$") as caught:
        play_suite(TWO, contestants, "out")
    assert "\n" not in str(caught.value)
    assert count == [] and len(asked) == 1 and not Path("out").exists()


def test_a_changed_checkpoint_is_another_contestant(tmp_path):
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder)
    before = Contestant.named(str(folder)).identity()
    assert Contestant.named(str(folder)).identity() == before
    assert Contestant.named(str(folder), temperature=0.5).identity() != before
    settings = PolicySpec(history=2)
    assert Contestant.named(str(folder), settings=settings).identity() != before
    shutil.rmtree(folder)
    tiny_model(seed=1).save_pretrained(folder)
    assert Contestant.named(str(folder)).identity() != before


def test_a_clone_keeps_the_settings_of_policies_or_refuses_them():
    settings = PolicySpec(history=2, constrained=True, model="elsewhere")
    assert Contestant.named("clone", settings=settings).spec == attrs.evolve(settings, model=None)
    with pytest.raises(InvalidArgumentError, match="a behaviour-cloned model has its own"):
        Contestant.named("clone", settings=PolicySpec(examples=2))


def test_a_run_stands_for_its_newest_policy(tmp_path):
    from algorithms.runs.atomic import write_whole_folder

    for name in ("start", "checkpoints/update-000002", "checkpoints/update-000010"):
        write_whole_folder(tmp_path / name, tiny_model().save_pretrained)
    assert Contestant.named(str(tmp_path)).spec.model.endswith("update-000010")
    (tmp_path / "checkpoints/update-000010/config.json").write_text("{}")  # no longer whole
    assert Contestant.named(str(tmp_path)).spec.model.endswith("update-000002")


def test_the_optimum_of_each_episode_stands_where_its_return_does(tmp_path):
    """An evaluation has the episodes of the first role before those of the second; Nim's optima differ by role."""
    suite = attrs.evolve(TWO.only(("Nim-v0",)), episodes=5)
    (found,) = play_suite(suite, players("optimum"), tmp_path)
    assert found.best == pytest.approx((1, 1, 1, 133 / 135, 133 / 135))


def test_the_optimum_is_refused_where_something_is_hidden(tmp_path):
    tiny = GameSpec(id="Mastermind-v0", arguments={"pegs": 1, "colours": 2, "guesses": 1})
    hidden = SuiteGame(level="hard", game=tiny)  # few states, so that only the secret is in the way
    with pytest.raises(InvalidArgumentError, match="'best' of 'Mastermind-v0' must be scripted or"):
        play_suite(attrs.evolve(TWO, games=(hidden,)), players("uniform"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_best_play_that_is_none_is_refused(tmp_path):
    weak = attrs.evolve(TWO.games[0], best="known", best_return=-1.0, source="a guess")
    with pytest.raises(InvalidArgumentError, match="no greater return than uniform play"):
        play_suite(attrs.evolve(TWO, games=(weak,)), players("uniform"), tmp_path)


# ---- the table


def test_the_table_has_scores_between_uniform_and_best_play(tmp_path):
    contestants = players("uniform", "scripted", "optimum")
    found = play_suite(SUITE.only(("Nim-v0", "Mastermind-v0")), contestants, tmp_path)
    table = suite_table(SUITE, contestants, found)
    assert table.head[5:] == ("scripted", "optimum")  # uniform play is 0 by definition
    names = [row[0] for row in table.rows]
    assert names == ["Nim-v0", "Mastermind-v0", "mean, easy", "mean, hard", "mean"]
    game, best = found[0], found[0].played["optimum"]
    lower = sum(game.lower) / 12
    assert sum(game.best) / 12 == pytest.approx((1 + 133 / 135) / 2)  # each role in turn
    score = (sum(best.returns) / 12 - lower) / (sum(game.best) / 12 - lower)
    assert table.rows[0][6].startswith(f"{score:.3f} [")
    assert table.rows[1][6] == table.rows[3][6] == "-"  # Mastermind hides its code
    assert table.rows[4][6].endswith("(1 of 2 games)")


def test_a_model_has_a_column_for_its_invalid_texts(tmp_path, monkeypatch):
    """A model of which a quarter of the texts names no action, on an endpoint that is never asked."""
    texts = Finite([("<action>right</action>", 0.75), ("nothing", 0.25)])
    policy = LanguageAgentPolicy(model=ScriptedModel(lambda prompt: texts))
    monkeypatch.setattr(PolicySpec, "build", lambda self, game, **keywords: policy)
    contestants = [Contestant.named("http://127.0.0.1:1#model")]
    suite = attrs.evolve(TWO.only(("LineWalk-v0",)), episodes=60)
    (found,) = play_suite(suite, contestants, tmp_path)
    played = found.played["http://127.0.0.1:1#model"]
    table = suite_table(suite, contestants, [found])
    assert table.head[5:] == ("http://127.0.0.1:1#model", "http://127.0.0.1:1#model, invalid texts")
    share = sum(played.invalid) / sum(played.texts)
    assert table.rows[0][6].startswith(f"{share:.3f} [") and 0.15 < share < 0.35


def test_another_temperature_is_another_contestant(tmp_path, monkeypatch, count):
    policy = LanguageAgentPolicy(model=ScriptedModel(lambda prompt: "<action>right</action>"))
    monkeypatch.setattr(PolicySpec, "build", lambda self, game, **keywords: policy)
    suite = TWO.only(("LineWalk-v0",))
    for temperature in (0.5, 0.5, 1.0):
        one = Contestant.named("http://127.0.0.1:1#model", temperature=temperature)
        play_suite(suite, [one], tmp_path)
    assert len(count) == 3  # uniform play, and two temperatures


def test_the_command_writes_its_table_and_says_who_could_not_play(tmp_path, monkeypatch):
    arguments = ["suite", "--output", str(tmp_path), "--only", "LineWalk-v0", "--episodes", "9"]
    done = CliRunner().invoke(main, [*arguments, "optimum"])
    assert done.exit_code == 0, done.output
    assert "| LineWalk-v0 | easy | - |" in (tmp_path / "suite.md").read_text()

    def fail(self, *arguments, **keywords):
        raise ModelError("no memory is left")

    monkeypatch.setattr(PolicySpec, "build", fail)
    done = CliRunner().invoke(main, [*arguments, "http://127.0.0.1:1#model"])
    assert done.exit_code == 1
    assert "LineWalk-v0, http://127.0.0.1:1#model: no memory is left" in done.output


def test_games_that_are_alike_but_for_the_opponent_have_names():
    one = SuiteGame(level="easy", opponent="uniform", game=TWO.games[1].game)
    other = attrs.evolve(one, opponent="scripted", name="against the game's own player")
    assert [one.title, other.title] == ["Nim-v0", "against the game's own player"]
    assert isinstance(results.Place.of(TWO, one).opponent, UniformPlayer)
    assert not isinstance(results.Place.of(TWO, other).opponent, UniformPlayer)


def test_the_file_on_the_page_is_a_suite(tmp_path):
    page = (ROOT / "docs/reference/suite.md").read_text()
    (tmp_path / "mine.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    suite = read_suite(tmp_path / "mine.toml")
    assert [game.title for game in suite.games] == ["FrozenLake-v0", "Nim against its own player"]


@pytest.mark.slow
def test_the_page_shows_what_the_command_prints(tmp_path):
    """The players' columns; a clone takes minutes, and its figures depend on the machine."""
    command = [sys.executable, "-m", "algorithms.cli", "suite", "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    written = (tmp_path / "suite.md").read_text().splitlines()
    page = (ROOT / "docs/reference/suite.md").read_text()
    shown = page[page.index("| game | level |") :].partition("\n\n")[0].splitlines()
    width = len(written[0].split(" | "))
    assert [line.rstrip(" |").split(" | ")[:width] for line in shown] == [
        line.rstrip(" |").split(" | ") for line in written
    ]

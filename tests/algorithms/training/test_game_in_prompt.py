"""What prompts show of their game: a legal action, and examples of play from starts of their own."""

from typing import Any

import attrs
import pytest

import games
from algorithms.cloning.config import CloningConfig
from algorithms.training.game_in_prompt import example_action, examples_of_play, shown_the_game
from algorithms.training.game_spec import GameSpec
from algorithms.training.limits import check_first_requests
from algorithms.training.policies import load_policy
from algorithms.training.policy_spec import PolicySpec
from algorithms.training.spec import RunSpec
from lap import (
    ContextLengthError,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    Sampling,
    TagParser,
    WholeReplyParser,
)
from lap.policy import POLICY_FILE
from tests.checkpoints import tiny_model
from tsmg import (
    AbstractGame,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    Phase,
    distinct_episodes,
    split_starts,
)

LAKE = games.make("FrozenLake-v0")
OPENING = "<action>"


def request(game: AbstractGame[Any, Any] = LAKE) -> Any:
    return Match.begin(game, EpisodeSpec[Any](key=EpisodeKey(seed=0))).requests[0]


@pytest.mark.parametrize(
    ("name", "action"), [("FrozenLake-v0", "left"), ("Snake-v0", "up"), ("KuhnPoker-v0", "pass")]
)
def test_the_format_shows_the_first_legal_action_of_a_fixed_start(name: str, action: str) -> None:
    """KuhnPoker begins with moves of chance."""
    assert example_action(games.make(name)) == action


@attrs.frozen(kw_only=True)
class Unlisted:
    """A game that lists no actions and has no player, or whose texts no tag can hold."""

    texts: tuple[str, ...] | None

    def __getattr__(self, name: str) -> Any:
        return getattr(LAKE, name)

    def legal_actions(self, state: object, agent: str) -> tuple[str, ...] | None:
        return self.texts

    def action_text(self, state: object, agent: str, action: str) -> str:
        return action

    def scripted_player(self) -> None:
        return None


@pytest.mark.parametrize(
    ("texts", "shown"), [(None, "ACTION"), (("</action>",), "ACTION"), (("</action>", "b"), "b")]
)
def test_a_game_without_such_an_action_keeps_the_place_holder(texts: Any, shown: str) -> None:
    from typeguard import suppress_type_checks

    with suppress_type_checks():
        assert example_action(Unlisted(texts=texts)) == shown  # type: ignore[arg-type]


def test_where_no_actions_are_listed_the_format_shows_what_the_player_does() -> None:
    assert example_action(games.make("TwentyQuestions-v0")) == "ask: Is it alive?"


def test_examples_are_different_turns_of_the_player_with_different_actions() -> None:
    train = split_starts(LAKE, "train", held_out=0.2)
    examples = examples_of_play(train, 4)
    assert {action for _, action in examples} == {"left", "down", "right", "up"}
    assert len({read for read, _ in examples}) == 4
    maps = {read.replace("P", "F") for read, _ in examples}
    assert len(maps) == 4
    held_out = split_starts(LAKE, "held_out", held_out=0.2)
    for phase in (Phase.TRAINING, Phase.EVALUATION):
        seen = distinct_episodes(held_out, 50, seed=0, phase=phase)
        shown = {Match.begin(held_out, spec).requests[0].history.observation.text for spec in seen}
        assert not maps & {text.replace("P", "F") for text in shown}
    assert examples_of_play(train, 4) == examples  # the same in every run
    assert examples_of_play(train, 2) == examples[:2]


def test_examples_are_the_players_most_probable_actions() -> None:
    player = LAKE.scripted_player()
    assert player is not None
    from games.frozen_lake import Lake, LakeState

    for read, action in examples_of_play(LAKE, 3):
        cells = read.replace(" ", "").split("\n")
        position = "".join(cells).index("P")
        lake = Lake(tuple(row.replace("P", "F") for row in cells))
        dist = player.action_dist(LakeState(lake, position), "player").pmf()
        best = max(dist.values())
        assert [m.name.lower() for m, p in dist.items() if p == best] == [action]


def test_a_game_with_fewer_turns_shows_fewer() -> None:
    game = games.make("FrozenLake-v0", map=("SF", "FG"))
    assert 1 <= len(examples_of_play(game, 9)) < 9


def test_a_game_without_a_player_is_refused_by_name() -> None:
    kuhn = games.make("KuhnPoker-v0")
    with pytest.raises(InvalidArgumentError, match="KuhnPoker has none"):
        examples_of_play(kuhn, 2)


@pytest.mark.parametrize("form", [MemorylessPrompt(), LastTurnsPrompt(turns=2)])
def test_what_is_shown_is_saved_with_the_policy(tmp_path: Any, form: Any) -> None:
    bare = LanguageAgentPolicy(
        model=tiny_model("chatml"), prompt=form, parser=TagParser(example=example_action(LAKE))
    )
    policy = shown_the_game(bare, LAKE, examples_of_play(LAKE, 2), prefill=True)
    assert policy.prefill == OPENING
    assert [e.reply for e in policy.prompt.examples] == [
        f"<action>{action}</action>" for _, action in examples_of_play(LAKE, 2)
    ]
    policy.save_pretrained(tmp_path)
    again = LanguageAgentPolicy.from_pretrained(tmp_path)
    assert (again.prompt, again.parser, again.prefill) == (
        policy.prompt,
        policy.parser,
        policy.prefill,
    )
    assert again.reply_key(request()) == policy.reply_key(request())


def test_examples_for_a_model_that_thinks_show_no_thoughts() -> None:
    """As earlier replies are shown; an end of thoughts that never began would be a bad example."""
    policy = LanguageAgentPolicy(model=tiny_model(), parser=TagParser(after="</think>"))
    shown = shown_the_game(
        policy, games.make("FrozenLake-v0"), examples=[("a lake", "left")], prefill=False
    )
    (example,) = shown.prompt.examples  # type: ignore[attr-defined]
    assert example.reply == "<action>left</action>"


def test_a_policy_of_before_keeps_its_prompt(tmp_path: Any) -> None:
    """A file that knows neither examples nor prefill nor an action to show: the prompt is what it was."""
    import json

    LanguageAgentPolicy(model=tiny_model("chatml")).save_pretrained(tmp_path)
    file = tmp_path / POLICY_FILE
    parts = json.loads(file.read_text())
    del parts["prefill"], parts["prompt"]["examples"], parts["parser"]["example"]
    file.write_text(json.dumps(parts))
    loaded = load(str(tmp_path), LAKE)
    assert loaded.reply_key(request()).messages[0].text.endswith("<action>ACTION</action>.")
    assert not loaded.prefill and not loaded.prompt.examples


def load(model: str, game: AbstractGame[Any, Any], **settings: Any) -> LanguageAgentPolicy[Any]:
    return load_policy(
        game,
        model,
        chat=None,
        thinking=None,
        dtype="float32",
        history=0,
        cloning=CloningConfig(),
        report=None,
        **settings,
    )


def test_a_policy_shows_an_action_of_the_game_that_it_plays(tmp_path: Any) -> None:
    """Saved for one game and loaded for another, with examples of that one if asked for."""
    tiny_model("chatml").save_pretrained(tmp_path / "model")
    made = load(str(tmp_path / "model"), LAKE, examples=1, prefill=True)
    made.save_pretrained(tmp_path / "policy")
    assert load(str(tmp_path / "policy"), LAKE).reply_key(request()) == made.reply_key(request())
    poker = games.make("TicTacToe-v0")
    other = load(str(tmp_path / "policy"), poker, examples=1)
    assert other.parser == TagParser(example="1")
    assert other.prefill == OPENING
    assert other.prompt.examples[0].observation == examples_of_play(poker, 1)[0][0]


def test_parts_that_cannot_show_it_are_refused_by_name() -> None:
    policy = LanguageAgentPolicy(model=tiny_model("chatml"), parser=WholeReplyParser())
    with pytest.raises(InvalidArgumentError, match="WholeReplyParser has no opening"):
        shown_the_game(policy, LAKE, (), prefill=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"examples": 2}, "name a checkpoint"),
        ({"prefill": True}, "name a checkpoint"),
        ({"prefill": True, "thinking": True, "model": "m"}, "no room for thoughts"),
        ({"prefill": True, "model": "http://localhost/v1#m"}, "begins every reply itself"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_a_model_is_loaded(
    settings: Any, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        PolicySpec(**settings).check(LAKE)


def test_a_run_refuses_examples_that_nobody_can_play(tmp_path: Any) -> None:
    tiny_model("chatml").save_pretrained(tmp_path)
    spec = RunSpec(
        game=GameSpec(id="KuhnPoker-v0"), policy=PolicySpec(model=str(tmp_path), examples=1)
    )
    with pytest.raises(InvalidArgumentError, match="KuhnPoker has none"):
        spec.check()


def test_a_run_builds_what_is_asked_for_and_goes_on_with_what_was_saved(tmp_path: Any) -> None:
    tiny_model("chatml").save_pretrained(tmp_path / "model")
    spec = RunSpec(policy=PolicySpec(model=str(tmp_path / "model"), examples=2, prefill=True))
    policy = spec.build().policy
    assert isinstance(policy, LanguageAgentPolicy)
    assert len(policy.prompt.examples) == 2 and policy.prefill == OPENING
    attrs.evolve(policy, prefill="<act").save_pretrained(tmp_path / "saved")
    again = spec.build(saved=tmp_path / "saved").policy
    assert isinstance(again, LanguageAgentPolicy)
    assert again.prefill == "<act" and again.prompt == policy.prompt


def test_the_limit_of_a_reply_does_not_count_what_is_given() -> None:
    model = tiny_model()
    limit = min(model.reply_length(f"{move}</action>") for move in ("left", "down", "right", "up"))
    sampling = Sampling(max_reply_tokens=limit)
    policy = LanguageAgentPolicy(model=model, prompt=MemorylessPrompt(with_rules=False))
    begun = attrs.evolve(policy, prefill=OPENING, sampling=sampling)
    check_first_requests(LAKE, {"player": begun})
    with pytest.raises(InvalidArgumentError, match="max_reply_tokens"):
        check_first_requests(LAKE, {"player": attrs.evolve(policy, sampling=sampling)})


def test_examples_that_do_not_fit_the_context_are_refused_before_the_run() -> None:
    policy = LanguageAgentPolicy(model=tiny_model("chatml"))
    long = shown_the_game(
        policy, LAKE, [("P F F F\nF F F F\nF F F F\nF F F G", "down")] * 40, prefill=False
    )
    with pytest.raises(ContextLengthError, match="fewer turns or examples"):
        check_first_requests(LAKE, {"player": long})

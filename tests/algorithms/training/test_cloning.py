"""``clone_policy``: a cloning from its spec; what it leaves is trained on; what cannot be cloned is refused."""

import json
import shutil

import attrs
import pytest
import torch

from algorithms import (
    CloneSpec,
    CloningConfig,
    FitConfig,
    GameSpec,
    MSGRPOConfig,
    PolicySpec,
    RunConfig,
    RunSpec,
    clone_policy,
    run_training,
)
from algorithms.cloning.demonstrations import Demonstration
from algorithms.cloning.recorded import held_out_share
from algorithms.cloning.run import Shown
from algorithms.cloning.small import cloned_model
from algorithms.errors import RunFolderError
from algorithms.runs.writer import transcript
from algorithms.training import cloning
from lap import (
    ContextLengthError,
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Message,
    Prompt,
    Sampling,
    ScriptedModel,
    Segment,
)
from tests.checkpoints import tiny_model
from tsmg import (
    AbstractPlayer,
    InvalidArgumentError,
    Phase,
    distinct_episodes,
    play,
    with_player,
)

SIZES = CloningConfig(width=16, layers=1, heads=2, inner=16, episodes=6, steps=4, batch=4)
FIT = FitConfig(
    steps=4, batch=4, learning_rate=1e-2, episodes=6, measure_every=2, measured_prompts=4
)
SPEC = CloneSpec(policy=PolicySpec(cloning=SIZES), fit=FIT, threads=1)


class Teller:
    def __init__(self):
        self.heard = []

    def stage(self, text):
        self.heard.append(text)

    def step(self, done, steps, loss): ...

    def measured(self, measurement, steps):
        self.heard.append(measurement)


def tensors(policy):
    return policy.model.network.state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model("chatml").save_pretrained(folder)
    return str(folder)


def test_a_fresh_network_becomes_the_small_model_of_the_game(tmp_path):
    """The cached model of ``tsmg train`` is the special case of the same code, bit for bit."""
    clone_policy(SPEC, tmp_path / "clone")
    clone = LanguageAgentPolicy.from_pretrained(tmp_path / "clone")
    training_game, _ = RunSpec(policy=SPEC.policy).games()
    config = attrs.evolve(SIZES, learning_rate=FIT.learning_rate)
    small = cloned_model(training_game, config=config, cache=tmp_path / "cache")
    assert clone.prompt == MemorylessPrompt(with_rules=False)
    for name, tensor in small.network.state_dict().items():
        assert torch.equal(tensors(clone)[name], tensor), name


def test_adapters_are_cloned_saved_and_learnt_further(tmp_path, checkpoint):
    spec = attrs.evolve(SPEC, policy=PolicySpec(model=checkpoint, lora="r=2"))
    teller = Teller()
    result = clone_policy(spec, tmp_path / "clone", reporter=teller)
    assert "adapters: 4 steps of 4 prompts" in teller.heard[-4]
    assert result.measurements[-1].divergence < result.measurements[0].divergence
    assert (tmp_path / "clone" / "adapter_model.safetensors").is_file()
    run = RunSpec(
        policy=PolicySpec(model=str(tmp_path / "clone")),
        algorithm=MSGRPOConfig(
            updates=1, groups=2, group_size=4, kept_episodes=2, max_reply_tokens=4, learning_rate=0.1,
            kl_coefficient=1.0, entropy_coefficient=1.0,
        ),
        run=RunConfig(final_episodes=2),
        threads=1,
    )  # fmt: skip
    run_training(run, tmp_path / "run")
    start, end = (
        LanguageAgentPolicy.from_pretrained(tmp_path / "run" / place)
        for place in ("start", "checkpoints/update-000001")
    )
    cloned = LanguageAgentPolicy.from_pretrained(tmp_path / "clone")
    changed = set()
    for name, tensor in tensors(start).items():
        assert torch.equal(tensors(cloned)[name], tensor)
        if not torch.equal(tensors(end)[name], tensor):
            changed.add(name)
    assert changed and all(".lora_" in name for name in changed)


def test_the_defaults_follow_from_what_is_fitted(checkpoint):
    built = PolicySpec(model=checkpoint).build(SPEC.game.build(), seed=0)
    adapted = attrs.evolve(built, model=tiny_model().with_lora(LoraSettings(r=1)))
    named = attrs.evolve(SPEC, policy=PolicySpec(model=checkpoint))
    kinds = [cloning.learnt(SPEC, built), *(cloning.learnt(named, p) for p in (built, adapted))]
    assert kinds == ["fresh network", "whole weights", "adapters"]
    rates = [FitConfig().resolved(kind).learning_rate for kind in kinds]
    assert rates == [2e-3, 5e-5, 3e-4]
    assert FitConfig(steps=7, batch=3, learning_rate=0.1).resolved("adapters") == FitConfig(
        steps=7, batch=3, learning_rate=0.1
    )


def always(move):
    return LanguageAgentPolicy(model=ScriptedModel(lambda _: f"<action>{move}</action>"))


def test_another_policy_is_cloned(tmp_path, checkpoint):
    spec = attrs.evolve(
        SPEC,
        policy=PolicySpec(model=checkpoint),
        fit=attrs.evolve(FIT, steps=60, learning_rate=1e-2, measure_every=60),
    )
    result = clone_policy(spec, tmp_path / "clone", teacher=always("down"))
    assert result.kept.divergence < 1.0
    assert result.measurements[0].divergence > 10.0
    described = json.loads((tmp_path / "clone" / "clone.json").read_text())
    assert described["given_teacher"] and described["learnt"] == "whole weights"
    assert CloneSpec.from_json(described["spec"]) == spec
    with pytest.raises(RunFolderError, match="finished"):
        clone_policy(spec, tmp_path / "clone", teacher=always("down"), resume=True)
    with pytest.raises(RunFolderError, match="is not empty"):
        clone_policy(spec, tmp_path / "clone", teacher=always("down"))


def test_a_saved_policy_is_cloned_by_its_folder(tmp_path):
    clone_policy(SPEC, tmp_path / "first")
    spec = attrs.evolve(SPEC, teacher=str(tmp_path / "first"), policy=SPEC.policy)
    with pytest.raises(InvalidArgumentError, match="no reply of the policy names a legal action"):
        clone_policy(spec, tmp_path / "second")  # four steps teach nothing


def test_recorded_episodes_are_cloned_and_held_out_starts_are_not(tmp_path):
    game = SPEC.game.build()
    specs = distinct_episodes(game, 12, seed=0, phase=Phase.CLONING)
    records = [transcript(e) for e in play(game, always("down"), specs)]
    evaluation = [{**record, "phase": "evaluation"} for record in records[:6]]
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in [*evaluation, *records[6:]]))
    teller = Teller()
    spec = attrs.evolve(SPEC, episodes_from=str(file))
    clone_policy(spec, tmp_path / "clone", reporter=teller)
    prompts = {
        agent["observation"] for r in records[6:] for s in r["steps"] for agent in s["agents"]
    }
    (said,) = [text for text in teller.heard if "prompts to fit" in str(text)]
    assert int(said.split()[0]) <= len(prompts)
    assert "held-out" in said
    with pytest.raises(InvalidArgumentError, match="does not say which episodes are a success"):
        clone_policy(attrs.evolve(spec, successful=True), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_prompt_that_does_not_fit_is_refused_before_the_fit(tmp_path, checkpoint):
    fresh = PolicySpec(cloning=attrs.evolve(SIZES, context=20))
    with pytest.raises(InvalidArgumentError, match="'context' must be at least"):
        clone_policy(attrs.evolve(SPEC, policy=fresh), tmp_path / "clone")
    short = shutil.copytree(checkpoint, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 20}))
    with pytest.raises(ContextLengthError, match="do not fit"):
        clone_policy(attrs.evolve(SPEC, policy=PolicySpec(model=str(short))), tmp_path / "clone")


def test_replies_have_room_for_what_is_cloned(tmp_path, checkpoint):
    """A policy whose replies were cut before the action would be saved as one that cannot act."""
    spec = attrs.evolve(SPEC, policy=PolicySpec(model=checkpoint), fit=attrs.evolve(FIT, steps=1))
    long = LanguageAgentPolicy(
        model=ScriptedModel(lambda _: "so many words before it " * 3 + "<action>down</action>")
    )
    literal = attrs.evolve(spec, fit=attrs.evolve(spec.fit, replies="literal"))
    clone_policy(literal, tmp_path / "clone", teacher=long)
    saved = LanguageAgentPolicy.from_pretrained(tmp_path / "clone")
    assert saved.sampling.max_reply_tokens > 30


@pytest.mark.parametrize("limit", [3, 500])
def test_the_limit_grows_to_the_longest_reply_and_its_end_and_never_shrinks(limit):
    policy = LanguageAgentPolicy(
        model=tiny_model("chatml"), sampling=Sampling(max_reply_tokens=limit)
    )
    prompt = Prompt((Message("user", (Segment("F F", trusted=False),)),))
    longest = "<action>left</action> and so on"
    length = policy.model.reply_length(longest)
    replies = (("<action>up</action>", 0.5), (longest, 0.5))
    shown = Shown.of([Demonstration(prompt=prompt, reply_dist=replies)], [], count=1)
    assert 3 < length < 500
    room = cloning._with_room(policy, shown).sampling.max_reply_tokens
    assert room == max(limit, length + 1)  # the end is a token, too


def test_where_all_recorded_starts_are_held_out_they_are_fitted_all_the_same(tmp_path):
    game = SPEC.game.build()
    specs = distinct_episodes(game, 12, seed=0, phase=Phase.CLONING)
    played = [transcript(e) for e in play(game, always("down"), specs)]
    _, records = held_out_share(played, SPEC.game.held_out)
    assert 0 < len(records) < 12
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in records))
    teller = Teller()
    clone_policy(attrs.evolve(SPEC, episodes_from=str(file)), tmp_path / "clone", reporter=teller)
    (said,) = [text for text in teller.heard if "prompts to fit" in str(text)]
    assert "none are held out" in said


@pytest.mark.parametrize(("held_out", "seed"), [(0.0, 6), (0.2, 5)])
def test_what_is_measured_is_played_by_another_seed_where_no_starts_are_held_out(held_out, seed):
    """The same seed would play the fitted episodes again."""
    spec = attrs.evolve(SPEC, game=attrs.evolve(SPEC.game, held_out=held_out))
    assert cloning._Games.of(spec).other_seed(5) == seed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"game": GameSpec(id="KuhnPoker-v0")}, "no scripted player to clone; name --player"),
        ({"teacher": "./nobody"}, "no saved policy at './nobody'"),
        ({"episodes_from": "./nothing"}, "no episodes to clone"),
        ({"successful": True}, "a player's whole distribution"),
        ({"teacher": ".", "episodes_from": "."}, "only one of"),
        ({"teacher": ".", "policy": PolicySpec(player="optimal")}, "only one of"),
        ({"policy": PolicySpec(model="./nowhere")}, "no checkpoint at './nowhere'"),
        ({"policy": PolicySpec(model="http://localhost#m")}, "an endpoint cannot be trained"),
    ],
)
def test_what_cannot_be_cloned_is_refused_at_once(tmp_path, changed, message):
    with pytest.raises(InvalidArgumentError, match=message):
        clone_policy(attrs.evolve(SPEC, **changed), tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_a_uniform_player_is_cloned_by_name():
    spec = attrs.evolve(
        SPEC, game=GameSpec(id="MatchingPennies-v0"), policy=PolicySpec(player="uniform")
    )
    spec.check()
    game = spec.policy.cloned_game(spec.game.build())
    dist = game.scripted_player().action_dist(
        next(iter(game.initial_state_dist().support())), "row"
    )
    assert sorted(map(float, dist.pmf().values())) == [0.5, 0.5]


def test_arguments_of_a_player_that_is_not_the_games_own_are_refused():
    spec = PolicySpec(player="uniform", player_arguments={"attention": 0.5})
    with pytest.raises(InvalidArgumentError, match="'player_arguments' change the game's own"):
        spec.cloned_game(SPEC.game.build())


def test_a_player_that_has_no_arguments_is_refused_in_a_sentence():
    class Plain(AbstractPlayer):
        def action_dist(self, state, agent):
            raise AssertionError("nobody plays")

    spec = PolicySpec(player_arguments={"attention": 0.5})
    game = with_player(SPEC.game.build(), Plain())
    with pytest.raises(InvalidArgumentError, match="'player_arguments': "):
        spec.cloned_game(game)


def test_a_spec_survives_json():
    spec = attrs.evolve(SPEC, successful=True, episodes_from="there")
    assert CloneSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(InvalidArgumentError, match="unknown key 'step' in section 'fit'"):
        CloneSpec.from_json({"fit": {"step": 1}})

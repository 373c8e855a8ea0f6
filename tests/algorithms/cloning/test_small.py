"""The behaviour-cloned model: clones distributions, is cached, and is an ordinary checkpoint."""

import attrs
import pytest

from algorithms import CloningConfig
from algorithms.cloning.demonstrations import demonstrations
from algorithms.cloning.divergence import divergence_from_player
from algorithms.cloning.small import clone, cloned_model
from games import FrozenLake
from lap import (
    LanguageAgentPolicy,
    MemorylessPrompt,
    Sampling,
    TagParser,
    TransformersModel,
    WholeReplyParser,
)
from lap.models.small import make_tokenizer, small_network
from tests.checkpoints import tiny_model
from tsmg import EpisodeKey, EpisodeSpec, InvalidArgumentError, PlayerPolicy, play, split_starts

TINY = CloningConfig(
    width=32, layers=1, heads=2, inner=48, episodes=20, steps=200, batch=16, learning_rate=1e-2
)
PROMPT = MemorylessPrompt(with_rules=False)


def test_demonstrations_hold_the_players_distribution_at_every_prompt():
    game = FrozenLake(map=["SF", "HG"])
    shown = demonstrations(game, prompt=PROMPT, parser=TagParser(), episodes=50)
    assert len(shown) == 2  # two cells from which one can move
    player = game.scripted_player()
    (start,) = game.initial_state_dist().support()
    dist = {game.action_text(start, "player", a): float(p)
           for a, p in player.action_dist(start, "player").pmf().items()}  # fmt: skip
    first = dict(next(d for d in shown if d.prompt.text.startswith("P")).reply_dist)
    assert first == pytest.approx({TagParser().wrap(text): p for text, p in dist.items()})


@pytest.mark.parametrize("parser", [TagParser(), WholeReplyParser()])
def test_a_clone_comes_close_to_the_distribution_and_is_made_once(tmp_path, parser):
    """On a map of two cells the distribution is learnt; the second call loads what the first made."""
    game = FrozenLake(map=["SF", "HG"])
    stages = []
    arguments = {"prompt": PROMPT, "parser": parser, "config": TINY, "cache": tmp_path}
    model = cloned_model(game, **arguments, report=lambda *stage: stages.append(stage))
    assert stages[-1] == ("behaviour-cloned model", 200, 200)
    (folder,) = [f for f in tmp_path.iterdir() if f.name.startswith("seed-")]
    again = cloned_model(game, **arguments, report=lambda *stage: pytest.fail("made again"))
    assert isinstance(again, TransformersModel)
    assert _tokens(again, parser.wrap("down")) == _tokens(model, parser.wrap("down"))
    other = attrs.evolve(TINY, steps=1)
    cloned_model(game, **{**arguments, "config": other})
    assert len([f for f in tmp_path.iterdir() if f.name.startswith("seed-")]) == 2
    assert {f.suffix for f in folder.iterdir()} <= {".json", ".safetensors"}

    policy = LanguageAgentPolicy(prompt=PROMPT, model=model, parser=parser, sampling=Sampling())
    specs = [EpisodeSpec(key=EpisodeKey(seed=1, episode=i)) for i in range(200)]
    episodes = play(game, policy, specs)
    replies = [
        step.agent_steps[0] for e in episodes for step in e.steps if step.state.state.position == 0
    ]
    fitted, hardly = (
        divergence_from_player(
            LanguageAgentPolicy(prompt=PROMPT, model=cloned_model(game, **kept), parser=parser),
            game,
        )
        for kept in (arguments, {**arguments, "config": other})
    )
    assert 0 <= fitted < 0.05 < hardly
    player = game.scripted_player()
    (start,) = game.initial_state_dist().support()
    for action, p in player.action_dist(start, "player").pmf().items():
        share = sum(r.played is action for r in replies) / len(replies)
        assert abs(share - float(p)) < 0.15
    assert sum(not r.is_valid for r in replies) / len(replies) < 0.05


def test_any_network_is_cloned_onto_and_frozen_parameters_stay():
    """The loop knows nothing of how a network was made."""
    game, parser = FrozenLake(map=["SF", "HG"]), TagParser()
    shown = demonstrations(game, prompt=PROMPT, parser=parser, episodes=20)
    policy = LanguageAgentPolicy(prompt=PROMPT, model=tiny_model(), parser=parser)
    frozen = policy.model.network.model.norm.weight.requires_grad_(False)
    before, kept = divergence_from_player(policy, game, episodes=20), frozen.clone()
    stages = []
    clone(
        policy.model,
        shown,
        attrs.evolve(TINY, steps=30),
        parser=parser,
        report=lambda *stage: stages.append(stage),
    )
    assert stages[-1][1:] == (30, 30)
    assert divergence_from_player(policy, game, episodes=20) < before / 2
    assert frozen.equal(kept)


def _tokens(model, text):
    return model.tokenizer.tokenize(text)


def test_a_loaded_tokenizer_is_the_one_that_was_saved(tmp_path):
    """Also where the model's architecture has a tokenizer of its own."""
    made = make_tokenizer(["P F F H\nF F G F\n<action>left</action>"] * 5, 400)
    network = small_network(made, width=32, layers=1, heads=2, inner=48, context=64)
    TransformersModel(network, made, chat=False).save_pretrained(tmp_path)
    loaded = TransformersModel.from_pretrained(tmp_path, chat=False)
    assert loaded.tokenizer.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()


def test_demonstrations_begin_on_different_maps():
    game = split_starts(FrozenLake(), "train")
    shown = demonstrations(game, prompt=PROMPT, parser=TagParser(), episodes=200)
    maps = {d.prompt.text.replace("P", "F") for d in shown}
    assert len(maps) == 200
    plain = [EpisodeSpec(key=EpisodeKey(seed=0, episode=i)) for i in range(200)]
    drawn = play(game, PlayerPolicy(game, game.scripted_player()), plain)
    assert len({game.instance_key(e.start.state.state) for e in drawn}) < 180  # without the search


def test_held_out_maps_never_reach_the_clone():
    game = FrozenLake()
    shown = demonstrations(
        split_starts(game, "train"), prompt=PROMPT, parser=TagParser(), episodes=100
    )
    held_out = split_starts(game, "held_out")
    specs = [EpisodeSpec(key=EpisodeKey(seed=s)) for s in range(30)]
    starts = {
        e.start.state.state
        for e in play(held_out, PlayerPolicy(game, game.scripted_player()), specs)
    }
    prompts = {d.prompt.text for d in shown}
    assert not prompts & {game.observation_text(s, "player") + "\n" for s in starts}


def test_the_tokenizer_keeps_tags_words_and_cells_whole():
    made = make_tokenizer(["P F F H\nF F G F\n<action>left</action>"] * 5, 400)
    tokens = [made.decode([i]) for i in made("P F\n<action>left</action>")["input_ids"]]
    assert tokens == ["P", " F", "\n", "<action>", "left", "</action>"]


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_cloned(tmp_path):
    game = FrozenLake(map=["SF", "HG"])
    arguments = {"prompt": PROMPT, "parser": TagParser(), "cache": tmp_path}
    shown = demonstrations(game, prompt=PROMPT, parser=TagParser(), episodes=20)
    texts = [d.prompt.text for d in shown] + [r for d in shown for r, _ in d.reply_dist]
    tokenizer = make_tokenizer([*texts, TagParser().instructions()], TINY.vocabulary)
    needed = max(
        len(tokenizer(d.prompt.text)["input_ids"]) + len(tokenizer(reply)["input_ids"]) + 1
        for d in shown
        for reply, _ in d.reply_dist
    )
    short = attrs.evolve(TINY, context=needed - 1, steps=1)
    with pytest.raises(InvalidArgumentError, match=f"'context' must be at least {needed} tokens"):
        cloned_model(game, **arguments, config=short, report=lambda *stage: pytest.fail("cloned"))
    cloned_model(game, **arguments, config=attrs.evolve(short, context=needed))

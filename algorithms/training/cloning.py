"""Behaviour-cloned models: small causal language models, made on first use, that can already half play one game.

A behaviour-cloned model is an ordinary checkpoint (Qwen2 architecture, about 0.8 M parameters, byte-level tokenizer)
cloned from the scripted player of a game: it learns the player's action *distribution* (soft targets), not single
draws, which reads the board far better for the same cost. It is cached by a hash of all that it is made from.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from algorithms.training.config import CloningConfig
from lap.engine.contexts import ReplyTree
from lap.engine.sampling import Sampling
from lap.models.transformers import TransformersModel
from lap.parsers import AbstractParser, TagParser
from lap.policy import LanguageAgentPolicy
from lap.prompts import AbstractPrompt, MemorylessPrompt, Prompt
from tsmg import (
    AbstractGame,
    Episode,
    History,
    Phase,
    PlayerPolicy,
    Stream,
    UniformPlayer,
    distinct_episodes,
    play,
)

END = "<|endoftext|>"
# Tags, words and blanks are whole; capitals and digits stand alone, so that a grid's cells stay apart.
_SPLIT = r"</?\w+>| ?[A-Z]?[a-z]+| ?[A-Z]| ?[0-9]|\s| ?[^\sA-Za-z0-9]"
_VERSION = 3
_ROWS = 64  # demonstrations that are scored at once

Report = Callable[[str, int, int], None]


@attrs.frozen(kw_only=True)
class Demonstration:
    """What a scripted player does at one prompt: the distribution of its replies."""

    prompt: Prompt
    reply_dist: tuple[tuple[str, float], ...]


def demonstrations(
    game: AbstractGame[Any, Any],
    *,
    prompt: AbstractPrompt,
    parser: AbstractParser,
    episodes: int,
    seed: int = 0,
) -> list[Demonstration]:
    """Let the game's scripted player play, and note the distribution of its replies at every prompt it met.

    The player of a game that ships none is uniform over the legal actions.
    """
    player = game.scripted_player() or UniformPlayer(game)
    specs = distinct_episodes(game, episodes, seed=seed, phase=Phase.CLONING)
    met: dict[Prompt, dict[str, float]] = {}
    counts: dict[Prompt, int] = {}
    instructions = parser.instructions()
    for episode in play(game, PlayerPolicy(game, player), specs):
        if not isinstance(episode, Episode):
            continue
        for state, history in _moments(episode, game, parser):
            asked = prompt.build(history, instructions)
            dist = met.setdefault(asked, {})
            counts[asked] = counts.get(asked, 0) + 1
            for action, probability in player.action_dist(state, history.agent).pmf().items():
                reply = parser.wrap(game.action_text(state, history.agent, action))
                dist[reply] = dist.get(reply, 0.0) + float(probability)
    return [
        Demonstration(
            prompt=asked,
            reply_dist=tuple((reply, p / counts[asked]) for reply, p in dist.items()),
        )
        for asked, dist in met.items()
    ]


def _moments(
    episode: Episode[Any], game: AbstractGame[Any, Any], parser: AbstractParser
) -> list[tuple[Any, History]]:
    """(state, history) at every moment at which an agent acted."""
    moments = []
    turns = {agent: list(episode.start.turns.get(agent, ())) for agent in episode.agents}
    for step in episode.steps:
        for agent_step in step.agent_steps:
            agent = agent_step.agent
            history = History(
                agent=agent,
                rules=game.rules_text(agent),
                turns=tuple(turns[agent]),
                observation=agent_step.observation,
            )
            moments.append((step.state.state, history))
            said = attrs.evolve(agent_step.turn, reply=parser.wrap(agent_step.reply.text))
            turns[agent].append(said)
    return moments


def divergence_from_player(
    policy: LanguageAgentPolicy[TransformersModel],
    game: AbstractGame[Any, Any],
    *,
    episodes: int = 200,
    seed: int = 0,
) -> float:
    """How far a cloned policy is from the game's scripted player, at the prompts that the player meets.

    On starts that cloning did not see (the other part of a split game), it says whether the clone has converged.

    Args:
      policy: the clone, with the prompt and parser that it was made for; its untruncated distribution at temperature
        1 counts.
      game: whose scripted player it is compared with.
      episodes: how many the player plays.
      seed: of their starts.

    Returns:
      The mean over distinct prompts of KL(player || clone), over whole replies, in nats.
    """
    shown = demonstrations(
        game, prompt=policy.prompt, parser=policy.parser, episodes=episodes, seed=seed
    )
    rows = [_encode(policy.model, policy.parser, demonstration) for demonstration in shown]
    missed = 0.0
    with torch.no_grad():
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            missed += len(part) * float(_cloning_loss(policy.model, part))
    entropy = sum(-p * math.log(p) for d in shown for _, p in d.reply_dist if p)
    return (missed - entropy) / len(rows)


def make_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on texts; it can encode any string."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False
    )


def cloned_model(
    game: AbstractGame[Any, Any],
    *,
    prompt: AbstractPrompt | None = None,
    parser: AbstractParser | None = None,
    recipe: CloningConfig | None = None,
    cache: str | Path | None = None,
    report: Report | None = None,
) -> TransformersModel:
    """The behaviour-cloned model of a game: loaded from the cache, or made and put there.

    Args:
      game: whose scripted player is cloned; pass the training part of a split game.
      prompt: F; the rules-free memoryless prompt by default.
      parser: W; tags by default.
      recipe: sizes and steps.
      cache: folder of the cache; ``$TSMG_CACHE`` or ``~/.cache/tsmg`` by default.
      report: called with (stage, done, total) while the model is made.
    """
    prompt = prompt or MemorylessPrompt(with_rules=False)
    parser = parser or TagParser()
    recipe = recipe or CloningConfig()
    shown = demonstrations(
        game, prompt=prompt, parser=parser, episodes=recipe.episodes, seed=recipe.seed
    )
    folder = cache_folder(cache) / f"seed-{_digest(recipe, shown)}"
    if not folder.is_dir():
        model = _clone(shown, parser, recipe, report)
        _save_whole(model, folder)
    return TransformersModel.from_pretrained(folder, chat=False)


def cloned_policy(
    game: AbstractGame[Any, Any],
    *,
    recipe: CloningConfig | None = None,
    sampling: Sampling | None = None,
    cache: str | Path | None = None,
    report: Report | None = None,
) -> LanguageAgentPolicy[TransformersModel]:
    """The behaviour-cloned model of a game with the prompt and parser that it was made for."""
    prompt, parser = MemorylessPrompt(with_rules=False), TagParser()
    model = cloned_model(
        game, prompt=prompt, parser=parser, recipe=recipe, cache=cache, report=report
    )
    return LanguageAgentPolicy(
        prompt=prompt, model=model, parser=parser, sampling=sampling or Sampling()
    )


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where made models are kept."""
    default = os.environ.get("TSMG_CACHE") or Path.home() / ".cache" / "tsmg"
    return Path(cache or default)


def _digest(recipe: CloningConfig, shown: Sequence[Demonstration]) -> str:
    """A hash of all that a behaviour-cloned model is made from, the demonstrations themselves included."""
    data = [(d.prompt.text, d.reply_dist) for d in shown]
    made_from = json.dumps([_VERSION, torch.__version__, attrs.asdict(recipe), data])
    return hashlib.blake2b(made_from.encode(), digest_size=10).hexdigest()


def _save_whole(model: TransformersModel, folder: Path) -> None:
    """Save under a temporary name, then rename, so that a half-written model is never found."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        model.save_pretrained(Path(work) / "model")
        try:
            (Path(work) / "model").rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was faster otherwise
                shutil.move(Path(work) / "model", folder)


def _clone(
    shown: Sequence[Demonstration],
    parser: AbstractParser,
    recipe: CloningConfig,
    report: Report | None,
) -> TransformersModel:
    """Fit a new network to the reply distributions of the demonstrations."""
    texts = [d.prompt.text for d in shown] + [r for d in shown for r, _ in d.reply_dist]
    tokenizer = make_tokenizer([*texts, parser.instructions()], recipe.vocabulary)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(recipe.seed)
        network = Qwen2ForCausalLM(_config(recipe, tokenizer))
    model = TransformersModel(network, tokenizer, model_id="seed", chat=False)
    data = [_encode(model, parser, demonstration) for demonstration in shown]
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    for step in range(recipe.steps):
        rng = Stream("behaviour-cloned model", recipe.seed, step)
        rows = [rng.choice(data) for _ in range(recipe.batch)]
        loss = _cloning_loss(model, rows)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
        optimizer.step()
        if report is not None:
            report("behaviour-cloned model", step + 1, recipe.steps)
    return model


def _config(recipe: CloningConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        initializer_range=recipe.width
        ** -0.5,  # 0.02 is for wide networks: this one would start blind
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )


def _schedule(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@attrs.frozen(kw_only=True)
class _Row:
    """A demonstration in tokens: the tree of its replies, and the distribution of the next token at every node.

    Attributes:
      tree: prompt and beginnings of replies.
      places: (index of the beginning, next token) of every positive entry of the distribution.
      probabilities: of reaching the beginning and then drawing the token; they align with places.
    """

    tree: ReplyTree
    places: tuple[tuple[int, int], ...]
    probabilities: tuple[float, ...]


def _encode(model: TransformersModel, parser: AbstractParser, shown: Demonstration) -> _Row:
    dist: dict[tuple[int, ...], float] = {}
    for reply, probability in shown.reply_dist:
        ids = model.written(shown.prompt, reply, stop_criterion=parser.is_complete).reply_ids
        dist[ids] = dist.get(ids, 0.0) + probability
    tree = ReplyTree.of(model.encoder.encode(shown.prompt)[0], list(dist))
    index = {prefix: i for i, prefix in enumerate(tree.prefixes)}
    targets: dict[tuple[int, int], float] = {}
    for reply_ids, probability in dist.items():
        for n, token in enumerate(reply_ids):
            place = (index[reply_ids[:n]], token)
            targets[place] = targets.get(place, 0.0) + probability
    return _Row(tree=tree, places=tuple(targets), probabilities=tuple(targets.values()))


def _cloning_loss(model: TransformersModel, rows: Sequence[_Row]) -> Tensor:
    """Mean over prompts of the expected negative log-probability of a whole reply, under the player's distribution."""
    counts: dict[ReplyTree, int] = {}
    distinct = {row.tree: row for row in rows}
    for row in rows:
        counts[row.tree] = counts.get(row.tree, 0) + 1
    logits, _ = model.context_logits(list(distinct))
    contexts, tokens, targets, first = [], [], [], 0
    for tree, row in distinct.items():
        contexts += [first + i for i, _ in row.places]
        tokens += [token for _, token in row.places]
        targets += [counts[tree] * p for p in row.probabilities]
        first += len(tree.prefixes)
    chosen = torch.log_softmax(logits, dim=-1)[contexts, tokens]
    return -(torch.tensor(targets, device=chosen.device) * chosen).sum() / len(rows)

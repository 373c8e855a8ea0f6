"""Behaviour cloning: a language model is fitted to the reply distributions of a game's scripted player.

What is cloned is the player's action *distribution* (soft targets), not single draws, which reads the board far better
for the same cost. ``clone`` fits any model, however its network was made. ``cloned_policy`` makes a small one on first
use (Qwen2 architecture, about 0.8 M parameters, byte-level tokenizer) that can already half play one game; it is an
ordinary checkpoint, cached by a hash of all that it is made from.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import torch
from torch import Tensor

from algorithms.training.config import CloningConfig
from lap.engine.prefix_tree import Ids, ReplyTree
from lap.engine.sampling import Sampling
from lap.models.small import make_tokenizer, small_network
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

_VERSION = 3
_ROWS = 64  # demonstrations that are scored at once

Report = Callable[[str, int, int], None]
"""Called with a stage, the steps of it that are done, and all its steps."""

S = TypeVar("S")
A = TypeVar("A")


# ---- demonstrations --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Demonstration:
    """The distribution of a scripted player's replies to one prompt."""

    prompt: Prompt
    reply_dist: tuple[tuple[str, float], ...]


def demonstrations(
    game: AbstractGame[S, A],
    *,
    prompt: AbstractPrompt,
    parser: AbstractParser,
    episodes: int,
    seed: int = 0,
) -> list[Demonstration]:
    """The reply distributions of the game's scripted player at every prompt that it meets.

    The player of a game that ships none is uniform over the legal actions.

    Args:
      game: the game; pass the training part of a split game.
      prompt: F, the prompts of the policy that is to be cloned.
      parser: W, which wraps actions into replies.
      episodes: number of distinct episodes that the player plays.
      seed: of the episodes.
    """
    player = game.scripted_player() or UniformPlayer(game)
    specs = distinct_episodes(game, episodes, seed=seed, phase=Phase.CLONING)
    sums: dict[Prompt, dict[str, float]] = {}
    counts: dict[Prompt, int] = {}
    instructions = parser.instructions()
    for episode in play(game, PlayerPolicy(game, player), specs):
        if not isinstance(episode, Episode):
            continue
        for state, history in _decisions(episode, game, parser):
            built = prompt.build(history, instructions)
            dist = sums.setdefault(built, {})
            counts[built] = counts.get(built, 0) + 1
            for action, probability in player.action_dist(state, history.agent).pmf().items():
                reply = parser.wrap(game.action_text(state, history.agent, action))
                dist[reply] = dist.get(reply, 0.0) + float(probability)
    return [
        Demonstration(
            prompt=built,
            reply_dist=tuple((reply, p / counts[built]) for reply, p in dist.items()),
        )
        for built, dist in sums.items()
    ]


def _decisions(
    episode: Episode[S], game: AbstractGame[S, A], parser: AbstractParser
) -> Iterator[tuple[S, History]]:
    """(state, history) at every decision of an agent."""
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
            yield step.state.state, history
            reply = parser.wrap(agent_step.reply.text)
            turns[agent].append(attrs.evolve(agent_step.turn, reply=reply))


# ---- the fit ---------------------------------------------------------------------------------------------


def clone(
    model: TransformersModel,
    shown: Sequence[Demonstration],
    config: CloningConfig,
    *,
    parser: AbstractParser,
    report: Report | None = None,
) -> None:
    """Fit a model, in place, to the reply distributions of demonstrations.

    Args:
      model: what is fitted: all parameters of its network that require gradients.
      shown: the demonstrations.
      config: steps, batch, learning rate and seed; its sizes of a network are not used.
      parser: W, which says where a reply is complete.
      report: called after each step.
    """
    rows = [_encode(model, parser, demonstration) for demonstration in shown]
    learned = [p for p in model.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=config.learning_rate, weight_decay=0.01)
    warm = max(1, config.steps // 20)
    for step in range(config.steps):
        rng = Stream("seed model", config.seed, step)  # its key decides the draws: it must stay
        loss = _cloning_loss(model, [rng.choice(rows) for _ in range(config.batch)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        if step < warm:
            schedule = (step + 1) / warm
        else:
            schedule = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule
        optimizer.step()
        if report is not None:
            report("behaviour-cloned model", step + 1, config.steps)


def divergence_from_player(
    policy: LanguageAgentPolicy[TransformersModel],
    game: AbstractGame[S, A],
    *,
    episodes: int = 200,
    seed: int = 0,
) -> float:
    """Mean divergence of a cloned policy from the game's scripted player, at the prompts that the player meets.

    On starts that cloning did not see (the other part of a split game), it says whether the clone has converged.

    Args:
      policy: the clone, with the prompt and parser that it was made for; its untruncated distribution at temperature
        1 counts.
      game: the game with the scripted player that the clone is compared with.
      episodes: number of episodes that the player plays.
      seed: of their starts.

    Returns:
      The mean over distinct prompts of KL(player || clone), over whole replies, in nats.
    """
    shown = demonstrations(
        game, prompt=policy.prompt, parser=policy.parser, episodes=episodes, seed=seed
    )
    rows = [_encode(policy.model, policy.parser, demonstration) for demonstration in shown]
    cross_entropy = 0.0
    with torch.no_grad():
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            cross_entropy += len(part) * float(_cloning_loss(policy.model, part))
    entropy = sum(-p * math.log(p) for d in shown for _, p in d.reply_dist if p)
    return (cross_entropy - entropy) / len(rows)


@attrs.frozen(kw_only=True)
class _Row:
    """A demonstration in tokens: the tree of its replies, and the distribution of the next token at every node.

    Attributes:
      tree: the prompt and prefixes of replies.
      targets: (index of the prefix, next token) of every positive entry of the distribution.
      probabilities: of reaching the prefix and then drawing the token; they align with the targets.
    """

    tree: ReplyTree
    targets: tuple[tuple[int, int], ...]
    probabilities: tuple[float, ...]


def _encode(model: TransformersModel, parser: AbstractParser, shown: Demonstration) -> _Row:
    """A demonstration in the tokens of a model."""
    dist: dict[Ids, float] = {}
    for reply, probability in shown.reply_dist:
        ids = model.written(shown.prompt, reply, stop_criterion=parser.is_complete).reply_ids
        dist[ids] = dist.get(ids, 0.0) + probability
    tree = ReplyTree.of(model.encoder.encode(shown.prompt)[0], list(dist))
    index = {prefix: i for i, prefix in enumerate(tree.prefixes)}
    targets: dict[tuple[int, int], float] = {}
    for reply_ids, probability in dist.items():
        for n, token in enumerate(reply_ids):
            target = (index[reply_ids[:n]], token)
            targets[target] = targets.get(target, 0.0) + probability
    return _Row(tree=tree, targets=tuple(targets), probabilities=tuple(targets.values()))


def _cloning_loss(model: TransformersModel, rows: Sequence[_Row]) -> Tensor:
    """Mean over prompts of the expected negative log-probability of a whole reply, under the player's distribution."""
    counts: dict[ReplyTree, int] = {}
    distinct = {row.tree: row for row in rows}
    for row in rows:
        counts[row.tree] = counts.get(row.tree, 0) + 1
    logits, _ = model.context_logits(list(distinct))
    contexts, tokens, weights, first = [], [], [], 0
    for tree, row in distinct.items():
        contexts += [first + i for i, _ in row.targets]
        tokens += [token for _, token in row.targets]
        weights += [counts[tree] * p for p in row.probabilities]
        first += len(tree.prefixes)
    chosen = torch.log_softmax(logits, dim=-1)[contexts, tokens]
    return -(torch.tensor(weights, device=chosen.device) * chosen).sum() / len(rows)


# ---- small models and their cache ------------------------------------------------------------------------


def cloned_policy(
    game: AbstractGame[S, A],
    *,
    config: CloningConfig | None = None,
    sampling: Sampling | None = None,
    cache: str | Path | None = None,
    report: Report | None = None,
) -> LanguageAgentPolicy[TransformersModel]:
    """The behaviour-cloned model of a game with the prompt and parser that it was made for.

    Args:
      game: the game with the scripted player that is cloned; pass the training part of a split game.
      config: sizes and steps.
      sampling: how the policy samples replies.
      cache: folder of the cache; ``$TSMG_CACHE`` or ``~/.cache/tsmg`` by default.
      report: called while the model is made.
    """
    prompt, parser = MemorylessPrompt(with_rules=False), TagParser()
    model = cloned_model(
        game, prompt=prompt, parser=parser, config=config, cache=cache, report=report
    )
    return LanguageAgentPolicy(
        prompt=prompt, model=model, parser=parser, sampling=sampling or Sampling()
    )


def cloned_model(
    game: AbstractGame[S, A],
    *,
    prompt: AbstractPrompt | None = None,
    parser: AbstractParser | None = None,
    config: CloningConfig | None = None,
    cache: str | Path | None = None,
    report: Report | None = None,
) -> TransformersModel:
    """The behaviour-cloned model of a game: loaded from the cache, or made and put there.

    Args:
      game: the game with the scripted player that is cloned; pass the training part of a split game.
      prompt: F; the rules-free memoryless prompt by default.
      parser: W; tags by default.
      config: sizes and steps.
      cache: folder of the cache; ``$TSMG_CACHE`` or ``~/.cache/tsmg`` by default.
      report: called while the model is made.
    """
    prompt = prompt or MemorylessPrompt(with_rules=False)
    parser = parser or TagParser()
    config = config or CloningConfig()
    shown = demonstrations(
        game, prompt=prompt, parser=parser, episodes=config.episodes, seed=config.seed
    )
    data = [(d.prompt.text, d.reply_dist) for d in shown]
    made_from = json.dumps([_VERSION, torch.__version__, attrs.asdict(config), data])
    digest = hashlib.blake2b(made_from.encode(), digest_size=10).hexdigest()
    folder = cache_folder(cache) / f"seed-{digest}"
    if not folder.is_dir():
        model = _small_model(shown, parser, config)
        clone(model, shown, config, parser=parser, report=report)
        _save_whole(model, folder)
    return TransformersModel.from_pretrained(folder, chat=False)


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder of models that were made: the one given, ``$TSMG_CACHE`` or ``~/.cache/tsmg``."""
    default = os.environ.get("TSMG_CACHE") or Path.home() / ".cache" / "tsmg"
    return Path(cache or default)


def _small_model(
    shown: Sequence[Demonstration], parser: AbstractParser, config: CloningConfig
) -> TransformersModel:
    """A small model with random weights, and a tokenizer for the texts of demonstrations."""
    texts = [d.prompt.text for d in shown] + [r for d in shown for r, _ in d.reply_dist]
    tokenizer = make_tokenizer([*texts, parser.instructions()], config.vocabulary)
    network = small_network(
        tokenizer,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        inner=config.inner,
        context=config.context,
        seed=config.seed,
    )
    return TransformersModel(network, tokenizer, model_id="seed", chat=False)


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

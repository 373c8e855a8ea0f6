"""Small behaviour-cloned models, made on first use and cached by a hash of all that they are made from.

A small model (Qwen2 architecture, about 0.8 M parameters, byte-level tokenizer) is fitted to the action distribution of
a game's scripted player, so that it can already play that one game moderately well. It is an ordinary checkpoint.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import torch
from transformers import PreTrainedTokenizerFast

from algorithms.cloning.config import CloningConfig
from algorithms.cloning.demonstrations import A, Demonstration, S, demonstrations
from algorithms.cloning.fit import Fit
from lap.engine.sampling import Sampling
from lap.model import TrainableModel
from lap.models.small import make_tokenizer, small_network
from lap.models.transformers import TransformersModel
from lap.parsers import AbstractParser, TagParser
from lap.policy import LanguageAgentPolicy
from lap.prompts import AbstractPrompt, MemorylessPrompt
from tsmg import AbstractGame, InvalidArgumentError

_VERSION = 4
_TOKENS_AT_ONCE = 2**15  # a small network takes a whole batch at once

Report = Callable[[str, int, int], None]
"""Called with a stage, the number of its steps that are done, and their total number."""


def clone(
    model: TrainableModel,
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
    fit = Fit(
        model,
        shown,
        parser=parser,
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        seed=config.seed,
        token_budget=_TOKENS_AT_ONCE,
    )
    while fit.done < fit.steps:
        fit.step()
        if report is not None:
            report("behaviour-cloned model", fit.done, fit.steps)


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
      config: sizes and steps; of no steps, the model has random weights, and is not put into the cache.
      cache: folder of the cache; ``$TSMG_CACHE`` or ``~/.cache/tsmg`` by default.
      report: called while the model is made.

    Raises:
      InvalidArgumentError: a prompt and its reply are longer than the model's context is to be.
    """
    prompt = prompt or MemorylessPrompt(with_rules=False)
    parser = parser or TagParser()
    config = config or CloningConfig()
    shown = demonstrations(
        game, prompt=prompt, parser=parser, episodes=config.episodes, seed=config.seed
    )
    if not config.steps:
        return _small_model(shown, parser, config)
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
    """The cache folder of cloned models: the one given, ``$TSMG_CACHE`` or ``~/.cache/tsmg``."""
    default = os.environ.get("TSMG_CACHE") or Path.home() / ".cache" / "tsmg"
    return Path(cache or default)


def _small_model(
    shown: Sequence[Demonstration], parser: AbstractParser, config: CloningConfig
) -> TransformersModel:
    """A small model with random weights, and a tokenizer for the texts of demonstrations."""
    texts = [d.prompt.text for d in shown] + [r for d in shown for r, _ in d.reply_dist]
    tokenizer = make_tokenizer([*texts, parser.instructions()], config.vocabulary)
    _check_context(tokenizer, shown, config)
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


def _check_context(
    tokenizer: PreTrainedTokenizerFast, shown: Sequence[Demonstration], config: CloningConfig
) -> None:
    """Refuse a context that some demonstration does not fit, before anything is cloned.

    Raises:
      InvalidArgumentError: it is too short; the message says how long it must be.
    """

    def lengths(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts)["input_ids"]]

    replies = [max((text for text, _ in d.reply_dist), key=len) for d in shown]
    pairs = zip(lengths([d.prompt.text for d in shown]), lengths(replies), strict=True)
    needed = max((prompt + reply + 1 for prompt, reply in pairs), default=0)  # and the end token
    if needed > config.context:
        raise InvalidArgumentError(
            f"'context' must be at least {needed} tokens, as many as the game's longest prompt and reply have (got "
            f"{config.context}): add --network-set context={needed}, or shorten the game's texts"
        )


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

"""A policy by name: that of a saved folder, of an endpoint, of a checkpoint, or the behaviour-cloned one of a game."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch

from algorithms.cloning.config import CloningConfig
from algorithms.cloning.small import cloned_model
from algorithms.training.game_in_prompt import (
    example_action,
    examples_of_play,
    shown_the_game,
)
from algorithms.training.opponents import endpoint_policy, is_endpoint
from lap import (
    AbstractParser,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    SubgoalParser,
    TagParser,
    TransformersModel,
)
from lap.policy import POLICY_FILE
from tsmg import AbstractGame

_THOUGHT = "</think>"
_LOADING: dict[str, dict[str, torch.dtype]] = {
    "float32": {},
    "bfloat16": {"dtype": torch.bfloat16},
    "mixed": {"autocast": torch.bfloat16},
}


def load_policy(
    game: AbstractGame[Any, Any],
    model: str | None,
    *,
    chat: bool | None,
    thinking: bool | None,
    dtype: str,
    history: int,
    subgoals: bool = False,
    examples: int = 0,
    prefill: bool = False,
    cloning: CloningConfig,
    report: Callable[[str, int, int], None] | None,
) -> LanguageAgentPolicy[Any]:
    """The policy of a model; a saved folder determines prompt and parser, otherwise the settings do.

    Args:
      game: the training part of a game, whose scripted player is cloned if no model is named.
      model: a folder, an endpoint as URL#model, the name of a checkpoint, or ``None``: a behaviour-cloned model.
      chat: whether prompts go through the chat template; ``None``: if there is one.
      thinking: what the chat template is told about thinking aloud; ``None``: nothing.
      dtype: ``float32``, ``bfloat16``, or ``mixed`` (float32 weights, bfloat16 computation).
      history: past turns that the prompt shows.
      subgoals: whether replies also keep or switch a subgoal; a saved policy gets that format, too.
      examples: how many examples of play the prompt shows; 0: those that a folder was saved with.
      prefill: whether each reply is begun with the parser's opening.
      cloning: settings of the behaviour cloning.
      report: called with (stage, done, total) while the model is cloned.

    Raises:
      InvalidArgumentError: the game has no scripted player for examples, or the parser no opening for prefill.
      ModelError: there is no such checkpoint, or it or a saved policy cannot be loaded.
    """
    shown = examples_of_play(game, examples) if examples else ()  # refused before a model is loaded
    loading = _LOADING[dtype]  # a backend that knows no such settings takes the plain type
    if model is not None and (Path(model) / POLICY_FILE).is_file():
        saved = LanguageAgentPolicy.from_pretrained(model, **loading)
        if subgoals:
            saved = attrs.evolve(saved, parser=SubgoalParser(example_action(game)), prefill="")
        return shown_the_game(saved, game, shown, prefill=prefill)
    with_rules = model is not None
    prompt = (
        LastTurnsPrompt(turns=history, with_rules=with_rules)
        if history
        else MemorylessPrompt(with_rules=with_rules)
    )
    if model is None:
        clone = cloned_model(game, prompt=prompt, config=cloning, report=report)
        return LanguageAgentPolicy(prompt=prompt, model=clone)
    parser: AbstractParser = TagParser(
        after=_THOUGHT if thinking else "", example=example_action(game)
    )
    if subgoals:
        parser = SubgoalParser(example_action(game))
    if is_endpoint(model):
        policy = attrs.evolve(endpoint_policy(model), prompt=prompt, parser=parser)
        return shown_the_game(policy, game, shown, prefill=prefill)
    checkpoint = TransformersModel.from_pretrained(model, chat=chat, thinking=thinking, **loading)
    made = LanguageAgentPolicy(prompt=prompt, parser=parser, model=checkpoint)
    return shown_the_game(made, game, shown, prefill=prefill)


def with_replies(
    policy: LanguageAgentPolicy[Any],
    *,
    temperature: float | None = None,
    max_reply_tokens: int | None = None,
) -> LanguageAgentPolicy[Any]:
    """The policy with another sampling temperature, or longer or shorter replies, where these are given.

    Args:
      policy: the policy.
      temperature: 0 is greedy.
      max_reply_tokens: the maximum length of a reply.
    """
    sampling = policy.sampling
    if temperature is not None:
        sampling = attrs.evolve(sampling, temperature=temperature)
    if max_reply_tokens is not None:
        sampling = attrs.evolve(sampling, max_reply_tokens=max_reply_tokens)
    return policy.with_sampling(sampling)

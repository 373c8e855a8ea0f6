"""A policy as a value: which checkpoint or small network, and how it is prompted, adapted and sampled from.

Together with ``GameSpec`` it is part of ``RunSpec`` and ``CloneSpec``. Nothing slow is imported before something is
built.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import attrs

import tsmg
from algorithms.cloning.config import CloningConfig
from algorithms.method.settings import one_of, option, within
from algorithms.training.game_spec import Game
from algorithms.training.opponents import (
    check_checkpoint,
    check_endpoint,
    check_examples,
    is_endpoint,
)
from algorithms.training.plain_data import plain_table
from tsmg import InvalidArgumentError

if TYPE_CHECKING:  # they import torch
    import lap

Dtype = Literal["float32", "bfloat16", "mixed"]
Player = Literal["scripted", "optimal", "uniform"]
Progress = Callable[[str, int, int], None]
"""Called with (stage, steps done, total steps) while a behaviour-cloned model is made."""

_NOT_OF_ENDPOINTS = {
    "chat": "has its own chat template",
    "dtype": "has its own data type",
    "prefill": "begins every reply itself",
    "constrained": "cannot be constrained, since its tokens are not known",
}

_NOT_OF_SUBGOALS = {
    "thinking": "replies consist of their three parts alone",
    "examples": "the scripted player that they show has no subgoals",
    "constrained": "only actions are drawn along a trie, and a subgoal is any text",
}


@final
@attrs.frozen(kw_only=True)
class PolicySpec:
    """Which policy training starts from: a checkpoint, or a small model that is cloned from a player of the game."""

    model: str | None = option(
        None,
        "checkpoint: a name, a local folder (including that of a saved policy), or a GGUF file; for evaluation also an "
        "OpenAI-compatible endpoint as URL#model; a small behaviour-cloned model of the game if unset",
    )
    chat: bool | None = option(
        None,
        "whether prompts go through the tokenizer's chat template; unset: if there is one; a saved policy keeps "
        "its own setting",
    )
    thinking: bool | None = option(
        None,
        "whether the chat template is told to let the model think aloud; the action is then what follows </think>; "
        "unset: the template is told nothing; a saved policy keeps its own setting",
    )
    dtype: Dtype = option(
        "float32",
        "data type of a checkpoint's weights; mixed: float32 weights, bfloat16 computation",
        one_of,
    )
    history: int = option(
        0,
        "past turns that the prompt shows; 0 is memoryless; a saved policy keeps its own prompt",
        within(0),
    )
    subgoals: bool = option(
        False,
        "ask for replies of three parts, <switch>, <subgoal> and <action>, which keep or switch a subgoal that every "
        "prompt shows; --method hiper needs it",
    )
    examples: int = option(
        0,
        "number of examples in the prompt, which show the scripted player on other starts; 0: those of a saved policy, "
        "if any",
        within(0),
    )
    prefill: bool = option(
        False, "begin each reply for the model with the opening tag, from which it continues"
    )
    lora: str | None = option(
        None,
        "learn only low-rank adapters, as r=16,alpha=32,targets=NAME+NAME; by default alpha is twice the rank, and the "
        "targets are all linear layers",
    )
    recompute: bool = option(
        False,
        "keep few activations while learning, and recompute the others (gradient checkpointing)",
    )
    compile: bool = option(False, "compile the model's layers")
    constrained: bool = option(
        False,
        "constrain replies to legal actions: they are drawn along the trie of the actions' texts, and learnt under "
        "that distribution",
    )
    player: Player = option("scripted", "the player whose play is cloned", one_of)
    player_arguments: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=plain_table,
        metadata={"help": "what differs from the game's own player, by name"},
    )
    cloning: CloningConfig | None = option(
        None,
        "settings of the behaviour cloning; its seed is that of the run if a file leaves it out",
    )

    def check(self, game: Game | None = None, *, trains: bool = False) -> None:
        """Refuse what can be refused without loading a model.

        Args:
          game: the game that is played; checks that depend on it need it.
          trains: whether the policy is to learn, which an endpoint cannot.

        Raises:
          InvalidArgumentError: there is no such checkpoint, or the settings do not fit the model or the game.
        """
        self._check_prompt(game)
        if self.model is None and (self.chat or self.thinking):
            raise InvalidArgumentError(
                "a behaviour-cloned model has no chat template; name a checkpoint by 'model'"
            )
        if self.model is None and self.dtype != "float32":
            raise InvalidArgumentError(
                f"a behaviour-cloned model is small and of float32; leave 'dtype' out (got {self.dtype!r})"
            )
        if self.lora is not None:
            from lap.lora import LoraSettings

            LoraSettings.parse(self.lora)
        if self.model is None:
            return None
        if self.cloning is not None:
            raise InvalidArgumentError(
                "'cloning' describes a network that is made; leave it or 'model' out"
            )
        if is_endpoint(self.model):
            if trains:
                raise InvalidArgumentError("an endpoint cannot be trained; name a checkpoint")
            for name, why in _NOT_OF_ENDPOINTS.items():
                if getattr(self, name) is not attrs.fields_dict(PolicySpec)[name].default:
                    raise InvalidArgumentError(f"an endpoint {why}; leave {name!r} out")
            return check_endpoint(self.model)
        return check_checkpoint(self.model, gets_adapters=self.lora is not None)

    def _check_prompt(self, game: Game | None) -> None:
        if self.model is None and (self.examples or self.prefill):
            raise InvalidArgumentError(
                "a behaviour-cloned model has its own prompt; name a checkpoint by 'model' to use 'examples' and "
                "'prefill'"
            )
        if self.subgoals:
            self._check_subgoals()
        if self.prefill and self.thinking:
            raise InvalidArgumentError(
                "'prefill' begins the action and leaves no room for thoughts; leave it or 'thinking' out"
            )
        if game is not None and self.examples and self.player == "scripted":
            check_examples(game)

    def _check_subgoals(self) -> None:
        if self.model is None:
            raise InvalidArgumentError(
                "a behaviour-cloned model says actions alone; name a checkpoint by 'model' to use 'subgoals'"
            )
        for name, reason in _NOT_OF_SUBGOALS.items():
            if getattr(self, name):
                raise InvalidArgumentError(f"'subgoals' does not go with {name!r}: {reason}")

    def cloned_game(self, game: Game) -> Game:
        """The game with the player that is cloned as its scripted player.

        Raises:
          InvalidArgumentError: there are arguments, and the player is not the game's own, or has no such argument.
        """
        if self.player != "scripted" and self.player_arguments:
            raise InvalidArgumentError(
                "'player_arguments' change the game's own player: leave them or 'player' out (got 'player' "
                f"{self.player!r})"
            )
        if self.player == "optimal":
            from algorithms.play.optimum import OptimalPlayer

            return tsmg.with_player(game, OptimalPlayer(game))
        if self.player == "uniform":
            return tsmg.with_player(game, tsmg.UniformPlayer(game))
        if not self.player_arguments:
            return game
        own: Any = game.scripted_player()
        if own is None:
            raise InvalidArgumentError(f"{game.name} has no scripted player for 'player_arguments'")
        try:
            player = attrs.evolve(own, **self.player_arguments)
        except (TypeError, ValueError) as error:  # no such argument; or it is no class of attrs
            raise InvalidArgumentError(f"'player_arguments': {error}") from error
        return tsmg.with_player(game, player)

    def seeded(self, data: Mapping[str, Any], seed: int) -> "PolicySpec":
        """The settings with that seed of the cloning, if the table that they were read from names none."""
        if self.cloning is None or "seed" in data["cloning"]:
            return self
        return attrs.evolve(self, cloning=attrs.evolve(self.cloning, seed=seed))

    def build(
        self,
        game: Game,
        *,
        seed: int,
        report: Progress | None = None,
        saved: str | Path | None = None,
    ) -> "lap.LanguageAgentPolicy[Any]":
        """The policy.

        Args:
          game: the game that it is trained on, as ``cloned_game`` returned it.
          seed: of the cloning, unless that has settings of its own, and of new adapters.
          report: called while a behaviour-cloned model is made.
          saved: the folder of this policy as it was saved before; loaded instead of being made again.

        Raises:
          ModelError: there is no such checkpoint, or it or a saved policy cannot be loaded.
        """
        from algorithms.training.policies import load_policy
        from lap import LoraSettings

        policy = load_policy(
            game,
            self.model if saved is None else str(saved),
            chat=self.chat,
            thinking=self.thinking,
            dtype=self.dtype,
            history=self.history,
            subgoals=self.subgoals and saved is None,
            examples=self.examples if saved is None else 0,
            prefill=self.prefill and saved is None,
            cloning=self.cloning or CloningConfig(seed=seed),
            report=report,
        )
        model = policy.model
        if self.lora is not None and saved is None:
            model = model.with_lora(LoraSettings.parse(self.lora), seed=seed)
        model = model.with_recomputation() if self.recompute else model
        return attrs.evolve(policy, model=model.compiled() if self.compile else model)

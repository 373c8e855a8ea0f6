"""TRL's sides of ``engine.py``: runs in an environment that has TRL and nothing of ours.

    python trl_side.py clone | environment | rollout FOLDER [--clone FOLDER] [--updates N] [--as-it-comes]

The first FOLDER holds ``maps.json`` (the maps of each update, as grids with P for the player) and ``seed``, the seed
model's checkpoint; ``clone`` makes the model that calls tools in the other. Each command prints lines of JSON. The game
is Frozen Lake 4x4 without slip, 8 steps, with 8 maps and 16 episodes on each in an update. Times are CPU times of one
thread.

``environment`` is TRL's recommended way to play several turns: an environment whose method is a tool. Tuned in its
favour: a tokenizer trained on these very transcripts, the shortest template that TRL knows, one tool of one argument
with a short docstring, 32 new tokens a turn (by default a turn that runs on would draw the whole completion), no
gradient checkpointing, float32 (bfloat16 is slower on a CPU), 16 rows a pass. With ``--as-it-comes`` a turn's tokens,
gradient checkpointing, precision and rows are TRL's defaults.

``rollout`` is the leanest thing that can be written with ``rollout_func``: the behaviour-cloned model's own prompts
of one observation and its replies of three tokens, ended by the closing tag, by ``generate``; the encoding of
observations is kept. TRL learns from one row an episode, so observations and replies are strung together and the
former masked: the distribution that is learnt from is not quite the one that was sampled. It bounds the cost from
below, and is no method.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import get_training_chat_template, qwen3_instruct_2507_chat_template

HORIZON, GROUPS, GROUP_SIZE = 8, 8, 16
STEPS = {"left": (0, -1), "down": (1, 0), "right": (0, 1), "up": (-1, 0)}
OVER = "Game over."
CLONE_STEPS, CLONE_BATCH, CLONE_RATE = 240, 8, 2e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("clone", "environment", "rollout"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clone", type=Path, help="the model that calls tools")
    parser.add_argument("--updates", type=int, default=3, help="timed, after one that is not")
    parser.add_argument("--as-it-comes", action="store_true", help="TRL's default settings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.command == "clone":
        clone(arguments.folder / "seed", arguments.clone)
    else:
        measure(arguments)


# ---- the game ------------------------------------------------------------------------------------


class Lake:
    """Frozen Lake without slip: a grid of letters and where the player stands."""

    def __init__(self, grid: str) -> None:
        self.rows = [row.split(" ") for row in grid.splitlines()]
        ((row, column),) = (
            (r, c)
            for r, cells in enumerate(self.rows)
            for c, cell in enumerate(cells)
            if cell == "P"
        )
        self.at = (row, column)
        self.rows[self.at[0]][self.at[1]] = "F"
        self.steps, self.episode_return = 0, 0.0

    @property
    def cell(self) -> str:
        return self.rows[self.at[0]][self.at[1]]

    @property
    def is_over(self) -> bool:
        return self.cell in "HG" or self.steps == HORIZON

    def to(self, move: str) -> tuple[int, int]:
        row, column = self.at[0] + STEPS[move][0], self.at[1] + STEPS[move][1]
        size = len(self.rows)
        return (row, column) if 0 <= row < size and 0 <= column < size else self.at

    def play(self, move: str) -> None:
        """A step; anything but a move stands still and pays."""
        self.steps += 1
        if move not in STEPS:
            self.episode_return -= 0.1
            return
        self.at = self.to(move)
        self.episode_return += self.cell == "G"

    def text(self) -> str:
        cells = [list(row) for row in self.rows]
        cells[self.at[0]][self.at[1]] = "P"
        return "\n".join(" ".join(row) for row in cells)


class LakeEnvironment:
    """The same as an environment whose method is a tool."""

    def reset(self, lake: str, **_: Any) -> str:
        self._lake = Lake(lake)
        return lake

    def move(self, direction: str) -> str:
        """Move.

        Args:
            direction: left, down, right or up
        """
        if direction not in STEPS:
            raise ValueError("no such direction")
        if not self._lake.is_over:
            self._lake.play(direction)
        return OVER if self._lake.is_over else self._lake.text()

    def get_reward(self) -> float:
        return self._lake.episode_return


# ---- a model that calls tools --------------------------------------------------------------------


def clone(seed: Path, folder: Path) -> None:
    """Fit a model of the behaviour-cloned model's shape to scripted transcripts, in TRL's own template."""
    draw = random.Random(0)
    transcripts = [transcript(draw) for _ in range(1000)]
    tokenizer = chat_tokenizer(transcripts)
    template = get_training_chat_template(tokenizer) or tokenizer.chat_template
    data = [encoded(tokenizer, template, messages) for messages in transcripts]
    torch.manual_seed(0)
    shape = AutoModelForCausalLM.from_pretrained(seed).config
    network = Qwen2ForCausalLM(config_like(shape, tokenizer))
    optimizer = torch.optim.AdamW(network.parameters(), lr=CLONE_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=CLONE_RATE, total_steps=CLONE_STEPS, pct_start=0.1
    )
    for _ in range(CLONE_STEPS):
        loss = network(**padded(draw.sample(data, CLONE_BATCH))).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    print(json.dumps({"cloning loss": loss.item()}), flush=True)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:  # never found half-written
        network.save_pretrained(Path(work) / "model")
        tokenizer.save_pretrained(Path(work) / "model")
        (Path(work) / "model").rename(folder)


def transcript(draw: random.Random) -> list[dict[str, Any]]:
    """What a mediocre player does, as messages."""
    environment, grid = LakeEnvironment(), random_grid(draw)
    messages: list[dict[str, Any]] = [{"role": "user", "content": environment.reset(grid)}]
    for _ in range(HORIZON):
        move = mediocre_move(draw, environment._lake)
        function = {"name": "move", "arguments": {"direction": move}}
        completion = {"type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [completion]})
        messages.append({"role": "tool", "name": "move", "content": environment.move(move)})
        if messages[-1]["content"] == OVER:
            break
    return [*messages, {"role": "assistant", "content": "done"}]


def random_grid(draw: random.Random) -> str:
    """A map whose inner cells are frozen with probability 0.8; that some cannot be solved does not matter here."""
    cells = ["P", *draw.choices("FH", (0.8, 0.2), k=14), "G"]
    return "\n".join(" ".join(cells[i : i + 4]) for i in range(0, 16, 4))


def mediocre_move(draw: random.Random, lake: Lake) -> str:
    """With probability 0.4 a move towards the goal and into no hole, else any."""
    good = [m for m in ("down", "right") if lake.to(m) != lake.at]
    safe = [m for m in good if lake.rows[lake.to(m)[0]][lake.to(m)[1]] != "H"]
    return draw.choice(safe) if safe and draw.random() < 0.4 else draw.choice(list(STEPS))


def chat_tokenizer(transcripts: Sequence[list[dict[str, Any]]]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 512 tokens, trained on what it is to encode."""
    template = qwen3_instruct_2507_chat_template
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    texts = [rendered(plain, template, messages) for messages in transcripts[:200]]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special[:3],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made.add_tokens(special[3:])
    made.chat_template = template
    return made


def rendered(tokenizer: Any, template: str, messages: list[dict[str, Any]]) -> str:
    text: str = tokenizer.apply_chat_template(
        messages, tools=[LakeEnvironment().move], chat_template=template, tokenize=False
    )
    return text


def encoded(
    tokenizer: Any, template: str, messages: list[dict[str, Any]]
) -> tuple[list[int], list[int]]:
    """Ids, and which of them the assistant said."""
    found = tokenizer.apply_chat_template(
        messages,
        tools=[LakeEnvironment().move],
        chat_template=template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return found["input_ids"], found["assistant_masks"]


def config_like(seed: Qwen2Config, tokenizer: Any) -> Qwen2Config:
    """The behaviour-cloned model's shape, with another vocabulary and room for transcripts."""
    shape = {
        name: getattr(seed, name)
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "initializer_range",
        )
    }
    return Qwen2Config(
        **shape,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )


def padded(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """A batch to clone; what the assistant did not say has no label."""
    width = max(len(ids) for ids, _ in rows)
    fill = [(ids, said, width - len(ids)) for ids, said in rows]
    labels = [
        [i if s else -100 for i, s in zip(ids, said, strict=True)] + [-100] * n
        for ids, said, n in fill
    ]
    return {
        "input_ids": torch.tensor([ids + [0] * n for ids, _, n in fill]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * n for ids, _, n in fill]),
        "labels": torch.tensor(labels),
    }


# ---- the leanest rollouts ------------------------------------------------------------------------


class Rollouts:
    """A ``rollout_func``: all episodes in lockstep, each observation a prompt of its own.

    Args:
      tokenizer: the behaviour-cloned model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        (self.close,) = tokenizer.encode("</action>")
        self.known: dict[str, list[int]] = {}
        self.moves: list[int] = []  # of each update

    def __call__(self, prompts: Sequence[str], trainer: GRPOTrainer) -> dict[str, Any]:
        assert len(prompts) == GROUPS * GROUP_SIZE
        lakes = [Lake(prompt.removesuffix("\n")) for prompt in prompts]
        ids: list[list[int]] = [[] for _ in lakes]
        mask: list[list[int]] = [[] for _ in lakes]
        while going := [b for b, lake in enumerate(lakes) if not lake.is_over]:
            seen = [self._encode(lakes[b].text() + "\n") for b in going]
            for b, prompt, reply in zip(going, seen, self._replies(trainer, seen), strict=True):
                lakes[b].play(self._said(reply))
                ids[b] += prompt + reply
                mask[b] += [0] * len(prompt) + [1] * len(reply)
        self.moves.append(sum(lake.steps for lake in lakes))
        first = [len(self._encode(prompt)) for prompt in prompts]
        return {
            "prompt_ids": [row[:n] for row, n in zip(ids, first, strict=True)],
            "completion_ids": [row[n:] for row, n in zip(ids, first, strict=True)],
            "env_mask": [row[n:] for row, n in zip(mask, first, strict=True)],
            "logprobs": None,
            "episode_return": [lake.episode_return for lake in lakes],
        }

    def _encode(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text)
        return self.known[text]

    def _said(self, reply: list[int]) -> str:
        text = self.tokenizer.decode(reply)
        return str(text.removeprefix("<action>").removesuffix("</action>"))

    @torch.no_grad()
    def _replies(self, trainer: GRPOTrainer, seen: list[list[int]]) -> Iterator[list[int]]:
        batch = torch.tensor(seen)  # grids have one length: no padding
        model = trainer.accelerator.unwrap_model(trainer.model)
        ends = [self.tokenizer.eos_token_id, self.close]
        trainer.generation_config.eos_token_id = ends
        drawn = model.generate(
            batch,
            attention_mask=torch.ones_like(batch),
            generation_config=trainer.generation_config,
        )
        for reply in drawn[:, batch.shape[1] :].tolist():
            stops = [n + 1 for n, token in enumerate(reply) if token in ends]
            yield reply[: stops[0]] if stops else reply


def returns(episode_return: list[float], **_: Any) -> list[float]:
    """The reward of each episode."""
    return episode_return


# ---- updates -------------------------------------------------------------------------------------


class Clock(TrainerCallback):
    """CPU seconds from the end of one update to the end of the next."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.process_time())

    def seconds(self) -> list[float]:
        return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]


def settings(arguments: argparse.Namespace, **tuned: Any) -> GRPOConfig:
    """What an update is, and unless TRL is taken as it comes, what makes it faster."""
    rows = 8 if arguments.as_it_comes else 16
    if not arguments.as_it_comes:
        tuned |= {"gradient_checkpointing": False, "bf16": False}
    return GRPOConfig(
        output_dir=str(arguments.folder / "out"),
        max_steps=arguments.updates + 1,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=GROUPS * GROUP_SIZE // rows,
        num_generations=GROUP_SIZE,
        max_tool_calling_iterations=HORIZON,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        use_cpu=True,
        shuffle_dataset=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **tuned,
    )


def measure(arguments: argparse.Namespace) -> None:
    """Some updates; the first is not timed."""
    maps = json.loads((arguments.folder / "maps.json").read_text())[: arguments.updates + 1]
    grids = [grid for update in maps for grid in update]
    make = environment_trainer if arguments.command == "environment" else rollout_trainer
    clock = Clock()
    trainer = make(arguments, grids)
    trainer.add_callback(clock)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "completions/mean_length" in log][1:]
    figures = told(logs) | {"seconds": statistics.median(clock.seconds())}
    if isinstance(trainer.rollout_func, Rollouts):
        figures["moves"] = statistics.mean(trainer.rollout_func.moves[1:])
    print(json.dumps(figures))


def environment_trainer(arguments: argparse.Namespace, grids: Sequence[str]) -> GRPOTrainer:
    folder = arguments.clone
    turn = {} if arguments.as_it_comes else {"generation_kwargs": {"max_new_tokens": 32}}
    data = [{"prompt": [{"role": "user", "content": ""}], "lake": grid} for grid in grids]
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
        train_dataset=Dataset.from_list(data),
        environment_factory=LakeEnvironment,
        args=settings(arguments, **turn),
    )


def rollout_trainer(arguments: argparse.Namespace, grids: Sequence[str]) -> GRPOTrainer:
    folder = arguments.folder / "seed"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=tokenizer,
        reward_funcs=returns,
        train_dataset=Dataset.from_list([{"prompt": grid + "\n"} for grid in grids]),
        rollout_func=Rollouts(tokenizer),
        args=settings(arguments, max_completion_length=16),
    )


def told(logs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means of what TRL says of its updates, for whole updates instead of an episode."""
    mean = {name: statistics.mean(log[name] for log in logs) for name in logs[0] if "/" in name}
    episodes = GROUPS * GROUP_SIZE
    found = {"tokens": episodes * mean["completions/mean_length"]}
    if "tools/call_frequency" in mean:
        found["moves"] = episodes * mean["tools/call_frequency"]
        found["failed"] = mean["tools/failure_frequency"]
        found["clipped"] = mean["completions/clipped_ratio"]
    return found


if __name__ == "__main__":
    main()

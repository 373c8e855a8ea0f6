"""How much memory does an update of a checkpoint of Qwen2.5-0.5B's shape take?

    python tests/benchmarks/memory.py [--threads 2]

The weights are random (151,936 tokens, 24 layers of width 896), and so are the replies; prompts have some 400 tokens.
One update with adapters: 16 episodes of 4 steps are played, and all of their replies are learnt from, beside the KL to
the base. Each side has a process of its own, whose greatest resident memory is printed. The other side is a learning
pass with full logits over the same replies, one row each, in one batch: what it needs is extrapolated from one, two and
three rows.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from algorithms import MSGRPOConfig, MSGRPOTrainer
from games.frozen_lake import FrozenLake
from lap import (
    AbstractPrompt,
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Message,
    Prompt,
    Segment,
    TransformersModel,
)
from lap.models.small import make_tokenizer
from tsmg import History

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.benchmarks.engine_side import peak_megabytes

EPISODES, STEPS, REPLY = 16, 4, 16
PROMPT = 400
GIGABYTE = 1e9


class LongPrompt(AbstractPrompt):
    """The memoryless prompt after as many words of rules as bring it to some length."""

    def __init__(self, words: int) -> None:
        self.rules = Segment("ice " * words, trusted=True)

    def build(self, history: History, instructions: str) -> Prompt:
        asked = MemorylessPrompt().build(history, instructions)
        return Prompt((Message("system", (self.rules,)), *asked.messages))


def network() -> Any:
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config)


def ours() -> None:
    game = FrozenLake(horizon=STEPS, frozen_probability=1.0)
    tokenizer = make_tokenizer([game.rules_text("player"), "ice "], 400)
    model = TransformersModel(network(), tokenizer, model_id="random").with_lora(LoraSettings(r=16))
    policy = LanguageAgentPolicy(prompt=LongPrompt(245), model=model.with_recomputation())
    config = MSGRPOConfig(
        updates=1, groups=1, group_size=EPISODES, sampling="all", max_reply_tokens=REPLY,
        token_budget=2048,
    )  # fmt: skip
    trainer = MSGRPOTrainer(game=game, policy=policy, config=config)
    started = time.perf_counter()
    update = trainer.update()
    completions = [
        completion
        for group in update.rollouts.groups
        for episode in group.episodes
        for _, completion in episode.completions("player")
    ]
    lengths = [len(completion.prompt_ids) for completion in completions]
    print(
        f"ours: {len(completions)} calls of {min(lengths)} to {max(lengths)} prompt tokens, ",
        end="",
    )
    print(f"{update.metrics['trained_tokens']:.0f} trained tokens, ", end="")
    print(f"{time.perf_counter() - started:.0f} s, of which playing ", end="")
    print(f"{update.seconds['seconds_playing']:.0f} s; {peak():.2f} GB resident at most")


def full_logits(rows: int) -> None:
    """Forward and backward over whole rows with all logits, recomputing activations as ours does."""
    model = TransformersModel(network(), make_tokenizer(["ice "], 300), model_id="random")
    adapted = model.with_lora(LoraSettings(r=16)).with_recomputation()
    ids = torch.randint(1000, (rows, PROMPT + REPLY), generator=torch.Generator().manual_seed(0))
    adapted.network.train()
    logits = adapted.network(input_ids=ids, use_cache=False).logits
    dist = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    dist.gather(-1, ids[:, 1:, None])[:, -REPLY:].sum().backward()
    print(f"{peak()}")


def peak() -> float:
    """The greatest resident memory of this process, in gigabytes."""
    return peak_megabytes() * 2**20 / GIGABYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=("ours", "full"))
    parser.add_argument("--rows", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.side == "ours":
        ours()
    elif arguments.side == "full":
        full_logits(arguments.rows)
    else:
        compare(arguments.threads)


def compare(threads: int) -> None:
    command = [sys.executable, __file__, "--threads", str(threads), "--side"]
    print(said([*command, "ours"]).strip(), flush=True)
    some = {n: float(said([*command, "full", "--rows", str(n)])) for n in (1, 2, 3)}
    slope = (some[3] - some[1]) / 2
    whole = some[1] + slope * (EPISODES * STEPS - 1)
    seen = ", ".join(f"{n} rows {gb:.2f} GB" for n, gb in some.items())
    eight = some[1] + slope * 7
    print(f"full logits: {seen}; 8 rows would take {eight:.0f} GB, ", end="")
    print(f"all {EPISODES * STEPS} at once {whole:.0f} GB")


def said(command: list[str]) -> str:
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return finished.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()

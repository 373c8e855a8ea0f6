"""How fast does the engine play and learn with a pretrained checkpoint, and in how much memory?

    python tests/benchmarks/real_model.py CHECKPOINT [play] [learn] [memory] [--repetitions 3] [--share 16]
        [--vllm PYTHON] [--markdown FILE]

The game is Frozen Lake 4x4. play: replies of up to 16 tokens at temperature 1, by the checkpoint as it is, to 64
prompts of 8 maps and to 32 different maps; the other sides are ``generate`` of the transformers library, one batch
padded on the left, with the same stop string, and vLLM, where ``--vllm`` names the interpreter of an environment that
has it.
learn: forward and backward over an update of 96 episodes of a random legal player (8 maps, 12 episodes each), with
adapters of rank 16; the other side passes rows of a prompt and its reply, 16 in a batch padded on the right, with
logits and log-probabilities at every position. It is timed on one of ``--share`` rows, and scaled up.
memory: the greatest resident memory of a process that plays and learns from this update, with AdamW.

Times are CPU times of one thread; the two sides of a line take turns, and a figure is the median. A table and a line of
JSON are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

import games
from algorithms.method.batch import TrainingRow, micro_batches
from lap import LoraSettings, MemorylessPrompt, Prompt, Sampling, TagParser, TransformersModel
from tsmg import (
    Completion,
    Episode,
    History,
    Phase,
    PlayerPolicy,
    Stream,
    UniformPlayer,
    distinct_episodes,
    play,
)

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.benchmarks.engine_side import peak_megabytes, seconds
from tests.tables import as_markdown, put, show

GAME = games.make("FrozenLake-v0", horizon=6)
PROMPT, PARSER = MemorylessPrompt(), TagParser()
SAMPLING = Sampling(max_reply_tokens=16)
STOP = "</action>"
MAPS, EPISODES, DIFFERENT = 8, 12, 32
ROWS = 16  # of the other side's batch
TOKEN_BUDGETS = (4096, 2048)
VLLM = """
import json, sys, time
from vllm import LLM, SamplingParams
asked = json.load(open(sys.argv[2]))
llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, gpu_memory_utilization=0.3)
settings = SamplingParams(temperature=1.0, max_tokens=16, stop=["</action>"])
for _ in range(int(sys.argv[3]) + 1):
    started = time.process_time()
    llm.generate([{"prompt_token_ids": ids} for ids in asked], settings, use_tqdm=False)
    print(json.dumps({"seconds": time.process_time() - started}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("parts", nargs="*", help="play, learn, memory; all unless given")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--share", type=int, default=16)
    parser.add_argument("--vllm", type=Path, default=None, metavar="PYTHON")
    parser.add_argument("--markdown", type=Path, default=None, metavar="FILE")
    parser.add_argument("--token-budget", type=int, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.token_budget is not None:
        memory(arguments.checkpoint, arguments.token_budget)
        return
    parts = {"play": playing, "learn": learning, "memory": memories}
    figures = [found for part in arguments.parts or parts for found in parts[part](arguments)]
    header = ("with a pretrained checkpoint", "ours", "other", "other / ours", "unit")
    rows = [header, *map(row_of, figures)]
    show(rows)
    print(json.dumps({figure["what"]: figure for figure in figures}))
    if arguments.markdown is not None:
        put(arguments.markdown, "real model", as_markdown(rows))


def row_of(figure: dict[str, Any]) -> tuple[str, ...]:
    ours, theirs = figure["ours"], figure["theirs"]
    ratio = "" if theirs is None else f"{theirs / ours:.1f}"
    return (
        figure["what"], f"{ours:.2f}", "" if theirs is None else f"{theirs:.2f}", ratio, figure["unit"],
    )  # fmt: skip


def compared(repetitions: int, *sides: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each side; they take turns, the first turn unseen where there are several."""
    turns = [[seconds(side) for side in sides] for _ in range(repetitions)][repetitions > 1 :]
    return [statistics.median(side) for side in zip(*turns, strict=True)]


# ---- play ----------------------------------------------------------------------------------------


def prompts_of(maps: int) -> list[Prompt]:
    """The first prompts of episodes on so many maps."""
    specs = distinct_episodes(GAME, maps, seed=0, phase=Phase.EVALUATION)
    episodes = play(GAME, PlayerPolicy(GAME, UniformPlayer(GAME)), specs)
    return [prompts_in(episode)[0] for episode in episodes]


def prompts_in(episode: Any) -> list[Prompt]:
    """What a policy without memory would have been asked at each step."""
    if not isinstance(episode, Episode):
        raise TypeError(f"an episode failed: {episode}")
    rules = GAME.rules_text("player")
    asked = [step.agent_steps[0].observation for step in episode.steps]
    histories = [
        History(agent="player", rules=rules, turns=(), observation=observation)
        for observation in asked
    ]
    return [PROMPT.build(history, PARSER.instructions()) for history in histories]


def playing(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    model = TransformersModel.from_pretrained(arguments.checkpoint)
    figures = []
    for what, prompts in (
        (f"64 prompts of {MAPS} maps", prompts_of(MAPS) * (64 // MAPS)),
        (f"{DIFFERENT} different maps", prompts_of(DIFFERENT)),
    ):
        ids = [list(model.encoder.encode(prompt)[0]) for prompt in prompts]
        ours, theirs = compared(
            arguments.repetitions,
            lambda prompts=prompts: sampled(model, prompts),  # type: ignore[misc]
            lambda ids=ids: generated(model, ids),  # type: ignore[misc]
        )
        figures.append(figure(f"{what}, generate", ours, theirs))
        if arguments.vllm is not None:
            figures.append(figure(f"{what}, vLLM", ours, by_vllm(arguments, ids)))
    return figures


def figure(what: str, ours: float, theirs: float | None, unit: str = "seconds") -> dict[str, Any]:
    return {"what": what, "ours": ours, "theirs": theirs, "unit": unit}


def sampled(model: TransformersModel, prompts: Sequence[Prompt]) -> list[Completion]:
    rngs = [Stream("real model", i) for i in range(len(prompts))]
    view = model.with_logit_cache()  # a new one: nothing is known yet
    return view.sample(prompts, rngs, sampling=SAMPLING, stop_criterion=PARSER.is_complete)


def generated(model: TransformersModel, ids: Sequence[Sequence[int]]) -> Any:
    width = max(map(len, ids))
    rows = [[0] * (width - len(row)) + list(row) for row in ids]
    real = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    device = model.network.device
    with torch.no_grad():
        return model.network.generate(
            torch.tensor(rows, device=device),
            attention_mask=torch.tensor(real, device=device),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=SAMPLING.max_reply_tokens,
            stop_strings=[STOP],
            tokenizer=model.tokenizer,
            pad_token_id=model.tokenizer.eos_token_id,
        )


def by_vllm(arguments: argparse.Namespace, ids: Sequence[Sequence[int]]) -> float:
    """Median CPU seconds of vLLM, in an environment of its own, in one process and thread."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "0",
    }
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "prompts.json"
        asked.write_text(json.dumps(ids))
        command = [arguments.vllm, "-c", VLLM, arguments.checkpoint, asked, arguments.repetitions]
        done = subprocess.run(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    return statistics.median(json.loads(line)["seconds"] for line in lines[1:])


# ---- learn ---------------------------------------------------------------------------------------


def adapted(checkpoint: str) -> TransformersModel:
    return TransformersModel.from_pretrained(checkpoint).with_lora(LoraSettings(r=16))


def training_rows(
    model: TransformersModel, maps: int = MAPS, episodes: int = EPISODES
) -> list[TrainingRow]:
    """What some episodes on each map of a random legal player would be learnt from, in the order of training."""
    specs = [
        attrs.evolve(spec, key=attrs.evolve(spec.key, episode=episode))
        for spec in distinct_episodes(GAME, maps, seed=0, phase=Phase.TRAINING)
        for episode in range(episodes)
    ]
    completions = [
        model.written(prompt, PARSER.wrap(step.agent_steps[0].reply.text), stop_criterion=PARSER.is_complete)
        for episode in play(GAME, PlayerPolicy(GAME, UniformPlayer(GAME)), specs)
        for prompt, step in zip(prompts_in(episode), episode.steps, strict=True)
    ]  # fmt: skip
    weight = 1 / len(completions)
    rows = [
        TrainingRow(agent="player", completion=completion, advantage=(-1.0) ** n, weight=weight)
        for n, completion in enumerate(completions)
    ]
    return sorted(rows, key=lambda row: (row.completion.prompt_ids, row.completion.reply_ids))


def learn(model: TransformersModel, rows: Sequence[TrainingRow], token_budget: int) -> None:
    for batch in micro_batches(rows, token_budget):
        scores = model.logprobs([row.completion for row in batch], sampling=SAMPLING)
        weights = torch.tensor([row.advantage * row.weight for row in batch])
        logprobs_B = scores.logprobs_B_L.sum(-1)
        (logprobs_B * weights.to(logprobs_B)).sum().backward()  # type: ignore[no-untyped-call]


def learn_padded(model: TransformersModel, rows: Sequence[TrainingRow]) -> None:
    device = model.network.device
    for first in range(0, len(rows), ROWS):
        batch = rows[first : first + ROWS]
        sequences = [(*r.completion.prompt_ids, *r.completion.reply_ids) for r in batch]
        width = max(map(len, sequences))
        ids = torch.tensor([(*s, *(0,) * (width - len(s))) for s in sequences], device=device)
        real = torch.tensor(
            [[1] * len(s) + [0] * (width - len(s)) for s in sequences], device=device
        )
        logits = model.network(input_ids=ids, attention_mask=real, use_cache=False).logits
        dist = torch.log_softmax(logits[:, :-1].float(), dim=-1)
        logprobs = dist.gather(-1, ids[:, 1:, None])[..., 0]
        mask = torch.zeros_like(logprobs)
        for b, row in enumerate(batch):
            mask[b, len(row.completion.prompt_ids) - 1 : len(sequences[b]) - 1] = 1
        weights = torch.tensor([row.advantage * row.weight for row in batch], device=device)
        ((logprobs * mask).sum(-1) * weights).sum().backward()


def learning(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    model = adapted(arguments.checkpoint)
    rows = training_rows(model)
    some = rows[:: arguments.share]
    ours, theirs = compared(
        arguments.repetitions,
        lambda: learn(model, rows, TOKEN_BUDGETS[0]),
        lambda: learn_padded(model, some),
    )
    what = f"learning from {len(rows)} replies, padded rows"
    return [figure(what, ours, theirs * len(rows) / len(some))]


# ---- memory --------------------------------------------------------------------------------------


def memories(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for token_budget in TOKEN_BUDGETS:
        command = [sys.executable, __file__, arguments.checkpoint, "--token-budget", token_budget]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        what = f"an update of {MAPS * EPISODES} episodes, token budget {token_budget}"
        found.append(figure(what, float(done.stdout.split()[-1]), None, "GB"))
    return found


def memory(checkpoint: str, token_budget: int) -> None:
    """Play once with all episodes, learn from the update, and take a step; then say what it took."""
    model = adapted(checkpoint)
    learned = [p for p in model.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5)
    sampled(model, prompts_of(MAPS) * EPISODES)
    learn(model, training_rows(model), token_budget)
    optimizer.step()
    print(peak_megabytes() * 2**20 / 1e9)


if __name__ == "__main__":
    main()

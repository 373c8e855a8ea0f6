"""How fast does the engine play and learn on an accelerator, in how much memory, and is it one policy there?

    make gpu                    # DEVICE=cpu tries it with a tiny network on the CPU; GPU="0.5B --parts play" chooses
    python tests/benchmarks/gpu.py [--device cuda] [SIZE or CHECKPOINT ...] [--parts play learn ratio equal compile]
        [--repetitions 3] [--json FILE]

A size is a shape with random weights in bfloat16 (135M: SmolLM2's, 0.5B and 3B: Qwen2.5's) and a tokenizer of its own;
a checkpoint is a folder, a name or a GGUF file. Random weights say nearly any token, so no two replies have a
beginning in common: the worst case for play. The game and the sides are those of ``tests/benchmarks/real_model.py``.

play: 64 prompts of 8 maps, and 32 different maps, replies of up to 16 tokens; the other side is ``generate``.
learn: forward and backward over an update of 1,024 episodes on 256 maps, with adapters of rank 16 and of all weights;
the other side passes padded rows with all their logits, and is timed on a part of them. The rate is that of the
multiplications with weights that the tokens of the trie need (attention, the head and what is computed again are not
counted), as a share of the rate of a large matrix product in bfloat16 that is measured first.
ratio: the greatest and the mean |ratio - 1| between sampling and learning, in bfloat16, mixed and float32.
equal: whether two runs of play and three steps of learning from one seed give the same weights to the bit.
compile: the learning of adapters again, with compiled layers; the first turns, which compile, are not counted.

Times are wall-clock times, the device waited for; the sides take turns, and a figure is the median.
"""

import argparse
import functools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
import transformers

from algorithms.method.batch import TrainingRow, micro_batches
from lap import LoraSettings, ModelError, Prompt, TransformersModel
from lap.engine.prefix_tree import ReplyTree
from lap.engine.token_trie import TokenTrie
from lap.models.small import make_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.benchmarks.real_model import (
    DIFFERENT,
    MAPS,
    SAMPLING,
    generated,
    learn,
    learn_padded,
    prompts_of,
    sampled,
    training_rows,
)
from tests.tables import show

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("Llama", {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 128, "vocab_size": 2048,
    }),
    "135M": ("Llama", {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49_152, "tie_word_embeddings": True,
    }),
    "0.5B": ("Qwen2", {
        "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151_936, "tie_word_embeddings": True,
    }),
    "3B": ("Qwen2", {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "intermediate_size": 11_008, "vocab_size": 151_936, "tie_word_embeddings": True,
    }),
}  # fmt: skip
SIZES = {"cpu": ["tiny"]}
LEARNT = {"cpu": (MAPS, 4)}  # maps, and episodes on each
TOKEN_BUDGET = 16_384
PADDED_SHARE = 64  # of the rows, one in so many is passed by the other side
Figure = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="SIZE or CHECKPOINT")
    parser.add_argument(
        "--device", default=None, help="cuda, say; the accelerator, or the CPU, unless given"
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    arguments = parser.parse_args()
    device = torch.device(arguments.device or torch.accelerator.current_accelerator() or "cpu")
    machine = described(device)
    print(json.dumps(machine))
    found: list[Figure] = [matrix_rate(device)]
    for part in arguments.parts:
        for name in arguments.models or SIZES.get(device.type, ["135M", "0.5B", "3B"]):
            bench = Bench(name, device, arguments.repetitions, rate=found[0]["ours"] * 1e12)
            found += attempted(name, part, functools.partial(PARTS[part], bench))
            if arguments.json is not None:  # what there is, should the time end
                arguments.json.write_text(
                    json.dumps({"machine": machine, "figures": found}, indent=1)
                )
    columns = ("model", "what", "ours", "theirs", "theirs / ours", "unit", "more")
    show([columns, *map(row_of, found)])


def described(device: torch.device) -> dict[str, str]:
    """The machine's name and the versions."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": f"{device.type}: {name}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def attempted(name: str, part: str, measure: Callable[[], Iterator[Figure]]) -> list[Figure]:
    """The figures of a part, with the model's name; of one that fails, those before it and what failed."""
    found: list[Figure] = []
    started = time.perf_counter()
    try:
        for measured in measure():
            found.append({"model": name, **measured})
            print(*row_of(found[-1]), sep="  ", flush=True)
    except (RuntimeError, ModelError) as error:  # one model may not fit, and the others do
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        found.append({"model": name, **figure(f"{part} failed", 0.0, more=reason)})
        print(*row_of(found[-1]), sep="  ", flush=True)
    print(f"# {name}, {part}: {time.perf_counter() - started:.1f} s", flush=True)
    return found


def figure(
    what: str, ours: float, theirs: float | None = None, unit: str = "", more: str = ""
) -> Figure:
    return {"what": what, "ours": ours, "theirs": theirs, "unit": unit, "more": more}


def row_of(found: Figure) -> tuple[str, ...]:
    ours, theirs = found["ours"], found["theirs"]
    other = ("", "") if theirs is None else (f"{theirs:.3g}", f"{theirs / ours:.1f}")
    return (
        found.get("model", ""),
        found["what"],
        f"{ours:.3g}",
        *other,
        found["unit"],
        found["more"],
    )


# ---- models and time ---------------------------------------------------------------------------------------


@attrs.frozen
class Bench:
    """A model on a device, made anew for each part, and how it is timed.

    Attributes:
      name: a size, or a checkpoint.
      device: where.
      repetitions: turns of each side; one more before them is not counted.
      rate: floating-point operations a second of a large matrix product in bfloat16.
    """

    name: str
    device: torch.device
    repetitions: int
    rate: float

    def model(
        self, dtype: torch.dtype = torch.bfloat16, autocast: torch.dtype | None = None
    ) -> TransformersModel:
        """The model, on the device; of a size, with the same random weights each time."""
        if self.name not in SHAPES:
            loaded = TransformersModel.from_pretrained(self.name, dtype=dtype, autocast=autocast)
            loaded.network.to(self.device)
            return loaded
        family, shape = SHAPES[self.name]
        settings = {"max_position_embeddings": 2048, "bos_token_id": None, "eos_token_id": 0}
        config = getattr(transformers, f"{family}Config")(**settings, **shape)
        torch.manual_seed(0)
        with self.device:
            network = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
        tokenizer = make_tokenizer([prompt.text for prompt in prompts_of(DIFFERENT)], 512)
        return TransformersModel(
            network, tokenizer, model_id=self.name, chat=False, autocast=autocast
        )

    def seconds(self, act: Callable[[], object]) -> float:
        """Wall-clock time of an act, until the device has done all of it."""
        self.wait()
        started = time.perf_counter()
        act()
        self.wait()
        return time.perf_counter() - started

    def compared(self, *sides: Callable[[], object]) -> list[float]:
        """Median seconds of each side, in turns, the first of which is not counted."""
        turns = [[self.seconds(side) for side in sides] for _ in range(self.repetitions + 1)][1:]
        return [statistics.median(side) for side in zip(*turns, strict=True)]

    def wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def peak_gigabytes(self, act: Callable[[], object]) -> float | None:
        """The most memory that tensors had on the device meanwhile; not known of a CPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        act()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 1e9


def matrix_rate(device: torch.device) -> Figure:
    """The rate of a large matrix product in bfloat16, the best of five."""
    n = 8192 if device.type != "cpu" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    bench = Bench("", device, 1, 0.0)
    bench.compared(lambda: a @ b)
    best = min(bench.seconds(lambda: a @ b) for _ in range(5))
    return figure(f"matrix product {n}^3 in bfloat16", 2 * n**3 / best / 1e12, unit="TFLOP/s")


# ---- parts -------------------------------------------------------------------------------------------------


def playing(bench: Bench) -> Iterator[Figure]:
    model = bench.model()
    sides: list[tuple[str, list[Prompt]]] = [
        (f"64 prompts of {MAPS} maps", prompts_of(MAPS) * (64 // MAPS)),
        (f"{DIFFERENT} different maps", prompts_of(DIFFERENT)),
    ]
    for what, prompts in sides:
        ids = [model.encoder.encode(prompt)[0] for prompt in prompts]
        ours, theirs = bench.compared(
            functools.partial(sampled, model, prompts), functools.partial(generated, model, ids)
        )
        more = f"{len(prompts) / ours:.0f} replies/s, prompts of {max(map(len, ids))} tokens"
        yield figure(f"play: {what}", ours, theirs, "s", more)


def learning(bench: Bench) -> Iterator[Figure]:
    adapted = bench.model().with_lora(LoraSettings(r=16))
    yield learnt(bench, "learn: adapters", adapted, padded=True)
    del adapted
    yield learnt(bench, "learn: all weights", bench.model())


def compiling(bench: Bench) -> Iterator[Figure]:
    adapted = bench.model().with_lora(LoraSettings(r=16))
    yield learnt(bench, "learn: adapters, compiled", adapted.compiled())


def learnt(bench: Bench, what: str, model: TransformersModel, *, padded: bool = False) -> Figure:
    rows = training_rows(model, *LEARNT.get(bench.device.type, (256, 4)))
    some = rows[::PADDED_SHARE]
    ours = functools.partial(learn, model, rows, TOKEN_BUDGET)
    sides = [ours, functools.partial(learn_padded, model, some)] if padded else [ours]
    took, *other = bench.compared(*sides)
    theirs = other[0] * len(rows) / len(some) if other else None
    tokens = trie_tokens(rows)
    share = weight_operations(model) * tokens / took / bench.rate
    peak = bench.peak_gigabytes(ours)
    more = [
        f"{len(rows)} replies",
        f"{tokens} tokens",
        f"{tokens / took:.0f} tokens/s",
        f"{share:.1%} of the matrix rate",
        *([] if peak is None else [f"peak {peak:.1f} GB"]),
    ]
    return figure(what, took, theirs, "s", ", ".join(more))


def weight_operations(model: TransformersModel) -> float:
    """Floating-point operations of the multiplications with weights for a token that is learnt from.

    Two for a weight forward, two backward for the gradient of the inputs, and two for that of the weight, if it is
    learnt. Embeddings are looked up, and the head is for contexts alone: neither is counted.
    """
    head = model.network.get_output_embeddings().weight
    layers = [p for p in model.network.parameters() if p.ndim == 2 and p.shape[0] != head.shape[0]]
    return float(sum(p.numel() * (6 if p.requires_grad else 4) for p in layers))


def trie_tokens(rows: Sequence[TrainingRow]) -> int:
    """How many tokens pass through the layers."""
    count = 0
    for batch in micro_batches(rows, TOKEN_BUDGET):
        replies: dict[Any, list[Any]] = {}
        for row in batch:
            replies.setdefault(row.completion.prompt_ids, []).append(row.completion.reply_ids)
        trees = [ReplyTree.of(prompt, of_prompt) for prompt, of_prompt in replies.items()]
        count += len(TokenTrie.of(trees).tokens)
    return count


def ratio(bench: Bench) -> Iterator[Figure]:
    types = (
        ("bfloat16", torch.bfloat16, None),
        ("mixed", torch.float32, torch.bfloat16),
        ("float32", torch.float32, None),
    )
    for what, dtype, autocast in types:
        model = bench.model(dtype, autocast)
        prompts = prompts_of(DIFFERENT) * 2
        completions = sampled(model, prompts)
        with torch.no_grad():
            scores = model.logprobs(completions, sampling=SAMPLING)
        recorded = torch.tensor([x for completion in completions for x in completion.logprobs])
        present = scores.logprobs_B_L[scores.mask_B_L].cpu()
        deviation = (present - recorded).exp().sub(1).abs()
        more = f"mean {deviation.mean():.2g} over {len(deviation)} tokens"
        yield figure(f"ratio: greatest |ratio - 1|, {what}", float(deviation.max()), more=more)


def equal(bench: Bench) -> Iterator[Figure]:
    digests = [trained_digest(bench) for _ in range(2)]
    yield figure("equal: two runs, 1 if they are", float(digests[0] == digests[1]))


def trained_digest(bench: Bench) -> tuple[str, int]:
    """A hash of the weights after three steps of learning, and one of what was played before and after them."""
    model = bench.model().with_lora(LoraSettings(r=16))
    learned = [p for p in model.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    rows, played = training_rows(model), []
    played.append(sampled(model, prompts_of(MAPS)))
    for _ in range(3):
        optimizer.zero_grad()
        learn(model, rows, TOKEN_BUDGET)
        optimizer.step()
    played.append(sampled(model, prompts_of(MAPS)))
    return model.digest(), hash(tuple(c.reply_ids for turn in played for c in turn))


PARTS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "play": playing,
    "learn": learning,
    "ratio": ratio,
    "equal": equal,
    "compile": compiling,
}

if __name__ == "__main__":
    main()

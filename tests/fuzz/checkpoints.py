"""Checkpoints of strangers: manifests, states of training, tensors and policies; nothing in them is run."""

import contextlib
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from algorithms.runs.atomic import MANIFEST, _listed, corruption_reason
from algorithms.runs.checkpoints import checkpoint_folder, has_start, resume_point
from algorithms.runs.state import (
    TrainingState,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
)
from lap import LanguageAgentPolicy, MemorylessPrompt, TabularModel
from tests.checkpoints import tiny_model
from tests.fuzz.guard import Case, declared, executed, scratch
from tests.fuzz.source import CANARY, Source, altered, damaged

MODULES = (
    "algorithms.runs.checkpoints",
    "algorithms.runs.atomic",
    "algorithms.runs.state",
    "lap.policy",
    "lap.lora",
)
CASES = 20_000
_POLICIES = 20  # one case in so many loads a policy, which takes long
_STATE = ("training.json", "training.safetensors", MANIFEST)
_HEADERS = (
    {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    {"__metadata__": {"format": 1}},
    {},
    [],
)


class Bomb:
    """A value whose pickle calls a function that notes it."""

    def __reduce__(self) -> Any:
        return executed, ("a pickle was run",)


@contextlib.contextmanager
def no_pickles() -> Iterator[None]:
    """Whatever reads a pickle, however carefully, is noted."""
    before = torch.load

    def load(*arguments: Any, **named: Any) -> Any:
        executed(f"torch.load {arguments[:1]!r}")
        raise RuntimeError("torch.load in a fuzzed case")

    torch.load = load
    try:
        yield
    finally:
        torch.load = before


def hostile_tensors(source: Source, whole: bytes) -> bytes:
    """A file of safetensors with a foreign header, or damaged."""
    if source.one_in(3):
        header = json.dumps(source.choice((*_HEADERS, source.json()))).encode()
        size = source.choice((len(header), 0, 2**40, 2**64 - 1))
        return size.to_bytes(8, "little") + header + whole[-16:]
    return damaged(source, whole)


# ---- the state of training -------------------------------------------------------------------


def model_and_optimizer() -> tuple[TabularModel, torch.optim.Optimizer]:
    """A small model that has learnt a step."""
    model = TabularModel(("a", "b"), capacity=4)
    model.row("seen", (1,))
    optimizer = torch.optim.AdamW(model.network.parameters())
    model.logits.grad = torch.ones_like(model.logits)
    optimizer.step()
    return model, optimizer


def saved_training() -> TrainingState:
    """What a trainer would save of it."""
    model, optimizer = model_and_optimizer()
    parts = {"model": model_state(model), "optimizer": optimizer_state(optimizer)}
    return TrainingState.of(parts, update=1)


def write_state(folder: Path) -> None:
    folder.mkdir(parents=True)
    TrainingState.of({"training": saved_training()}, lines={"metrics.jsonl": 0}).save(folder)
    (folder / MANIFEST).write_text(json.dumps(_listed(folder)))


def hostile_state(source: Source, folder: Path, whole: dict[str, bytes]) -> None:
    """Files of a checkpoint, altered; as a rule with the manifest that a stranger would make for them."""
    values = json.dumps(altered(source, json.loads(whole["training.json"]))).encode()
    (folder / "training.json").write_bytes(damaged(source, values) if source.one_in(4) else values)
    tensors = whole["training.safetensors"]
    (folder / "training.safetensors").write_bytes(
        hostile_tensors(source, tensors) if source.one_in(3) else tensors
    )
    (folder / MANIFEST).unlink(missing_ok=True)
    listed: Any = _listed(folder)
    if source.one_in(4):
        listed = altered(source, listed)
    data = json.dumps(listed).encode()
    (folder / MANIFEST).write_bytes(damaged(source, data) if source.one_in(4) else data)


def check_state(run: Path, folder: Path) -> None:
    """What training goes on from, if from anything."""
    corruption_reason(folder)
    has_start(run)
    point = resume_point(run)
    with declared():
        str(point.update)
    model, optimizer = model_and_optimizer()
    with declared():
        training = TrainingState.load(folder).part("training")
        load_model_state(model, training.part("model"))
    with declared():
        training = TrainingState.load(folder).part("training")
        load_optimizer_state(optimizer, training.part("optimizer"))


# ---- policies --------------------------------------------------------------------------------


def write_policies(folder: Path) -> tuple[Path, Path]:
    """A policy with its weights, and one with adapters."""
    policy = LanguageAgentPolicy(prompt=MemorylessPrompt(), model=tiny_model("chatml"))
    plain, adapted = folder / "plain", folder / "adapted"
    policy.save_pretrained(plain)
    LanguageAgentPolicy(
        model=LanguageAgentPolicy.from_pretrained(plain).model.with_lora()
    ).save_pretrained(adapted)
    return plain, adapted


def hostile_policy(source: Source, whole: Path, folder: Path) -> None:
    """A policy's folder with one file altered or damaged, or with a pickle in place of its weights."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    weights = next(folder.glob("*model.safetensors"))
    kind = source.integer(0, 4)
    if kind == 0:
        pickled = weights.with_name(
            f"{'adapter' if 'adapter' in weights.name else 'pytorch'}_model.bin"
        )
        pickled.write_bytes(pickle.dumps(Bomb()))
        weights.unlink()
    elif kind == 1:
        weights.write_bytes(hostile_tensors(source, weights.read_bytes()))
    else:
        name = source.choice(("policy.json", "policy.json", "config.json", "adapter_config.json",
                              "tokenizer_config.json", "generation_config.json"))  # fmt: skip
        file = folder / name
        values = json.loads(file.read_text()) if file.is_file() else {}
        values = foreign(source, values) if source.one_in(2) else altered(source, values)
        data = json.dumps(values).encode()
        file.write_bytes(damaged(source, data) if source.one_in(4) else data)


def foreign(source: Source, values: dict[str, Any]) -> dict[str, Any]:
    """Fields by which a checkpoint names code of its own."""
    classes = {"AutoConfig": f"{CANARY}.run", "AutoModelForCausalLM": f"{CANARY}.run"}
    return values | source.choice((
        {"auto_map": classes},
        {"auto_map": classes, "model_type": "hostile"},
        {"auto_map": {"AutoTokenizer": [f"{CANARY}.run", None]}, "tokenizer_class": "Hostile"},
        {"megatron_core": CANARY, "megatron_config": {"a": 1}},
        {"auto_mapping": {"base_model_class": "run", "parent_library": CANARY}},
        {"architectures": [f"{CANARY}.run"]},
        {"custom_pipelines": {"x": {"impl": f"{CANARY}.run"}}},
        {"peft_type": source.choice(("LORA", "XLORA", "P_TUNING", "VERA", "x"))},
        {"target_modules": "(.*a)*b(x+)+$"},
        {"torch_dtype": source.json(1), "dtype": source.json(1)},
        {"quantization_config": {"quant_method": source.choice(("bitsandbytes", "gptq", "awq", "x"))}},
    ))  # fmt: skip


def check_policy(folder: Path) -> None:
    """A policy, or one declared error; never a pickle."""
    with no_pickles(), declared():
        LanguageAgentPolicy.from_pretrained(folder)


def prepare() -> Case:
    torch.set_num_threads(1)
    place = scratch("checkpoints")
    run, policy = place / "run", place / "policy"
    folder = checkpoint_folder(run, 1)
    write_state(folder)
    whole = {name: (folder / name).read_bytes() for name in _STATE}
    (run / "metrics.jsonl").write_text("")
    policies = write_policies(place)
    save_file({"a": torch.zeros(1)}, place / "small.safetensors")
    for sound in policies:
        LanguageAgentPolicy.from_pretrained(sound)

    def case(source: Source) -> None:
        hostile_state(source, folder, whole)
        check_state(run, folder)
        if source.rarely(_POLICIES):
            hostile_policy(source, source.choice(policies), policy)
            check_policy(policy)

    return case

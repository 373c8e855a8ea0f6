"""Policies and answers of strangers: no pickle is read, no module is imported, one error tells what is wrong."""

import copy
import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from lap import (
    EndpointModel,
    LanguageAgentPolicy,
    LoraSettings,
    MemorylessPrompt,
    ModelError,
    PromptEncoder,
    Sampling,
    TransformersModel,
)
from lap.lora import ADAPTER_FILE, plain_settings
from lap.models.endpoint import Usage
from tests.checkpoints import tiny_model, tokenizer
from tests.lap.test_endpoint import SAMPLING, asked, says, serve, streams  # noqa: F401 - a fixture
from tsmg import InvalidArgumentError, TSMGError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy, and one with adapters to it."""
    folder = tmp_path_factory.mktemp("policies")
    LanguageAgentPolicy(prompt=MemorylessPrompt(), model=tiny_model("chatml")).save_pretrained(
        folder / "padded"
    )
    adapted = LanguageAgentPolicy.from_pretrained(folder / "padded").model.with_lora(
        LoraSettings(r=2)
    )
    LanguageAgentPolicy(model=adapted).save_pretrained(folder / "adapted")
    return folder


@pytest.fixture
def policy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "padded", tmp_path / "padded"))


@pytest.fixture
def adapted(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "adapted", tmp_path / "adapted"))


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def refused(folder: Path) -> str:
    with pytest.raises(TSMGError) as raised:
        LanguageAgentPolicy.from_pretrained(folder)
    return str(raised.value)


class Pickled:
    """A pickle that would leave a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("kind", ["padded", "adapted"])
def test_weights_in_a_pickle_are_refused(saved: Path, tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(saved / kind, tmp_path / kind))
    (weights,) = folder.glob("*model.safetensors")
    weights.unlink()
    name = {"padded": "pytorch_model.bin", "adapted": "adapter_model.bin"}[kind]
    trace = tmp_path / "it ran"
    (folder / name).write_bytes(pickle.dumps(Pickled(trace)))
    assert "safetensors" in refused(folder)
    assert not trace.exists()
    pickle.loads((folder / name).read_bytes())
    assert trace.exists()  # it would have


def test_code_beside_a_checkpoint_is_not_run(policy: Path, tmp_path: Path) -> None:
    (policy / "trap.py").write_text("raise SystemExit('imported')\n")
    classes = {"AutoConfig": "trap.Config", "AutoModelForCausalLM": "trap.Model"}
    change(policy / "config.json", auto_map=classes)
    assert LanguageAgentPolicy.from_pretrained(
        policy
    )  # its architecture is known: the code is not asked for
    change(policy / "config.json", model_type="trap")
    refused(policy)
    assert "trap" not in sys.modules


@pytest.mark.parametrize(
    "fields",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "trap"},
        {"auto_mapping": {"base_model_class": "run", "parent_library": "trap"}},
        {"peft_type": "XLORA"}, {"peft_type": None},
        {"target_modules": "(.*a)*b"}, {"exclude_modules": "(.*a)*b"},
        {"rank_pattern": {"([a-z0-9_.]+)+!": 8}}, {"modules_to_save": ["(a+)+b"]},
        {"base_model_name_or_path": None},
    ],
)  # fmt: skip
def test_adapters_that_are_more_than_lora_are_refused(
    adapted: Path, tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert LanguageAgentPolicy.from_pretrained(adapted).model.has_adapters
    change(adapted / ADAPTER_FILE, **fields)
    assert "adapter" in refused(adapted)


def test_settings_of_adapters_that_cannot_be_read_are_one_sentence(adapted: Path) -> None:
    (adapted / ADAPTER_FILE).write_text("{")
    with pytest.raises(ModelError, match=f"{ADAPTER_FILE} in .* cannot be read"):
        plain_settings(adapted)


def test_adapters_of_adapters_are_refused(adapted: Path) -> None:
    """The loader of the base would take what is beside it, a pickle too."""
    change(adapted / ADAPTER_FILE, base_model_name_or_path=str(adapted))
    assert "belong to no checkpoint" in refused(adapted)


@pytest.mark.parametrize("header", [b"[]", b"{", b'{"a": 1}', b"x" * 100, b"{}"])
@pytest.mark.parametrize("size", [None, 2**40])
def test_a_foreign_header_of_tensors_is_one_error(
    policy: Path, header: bytes, size: int | None
) -> None:
    data = (size or len(header)).to_bytes(8, "little") + header
    (policy / "model.safetensors").write_bytes(data)
    if header == b"{}" and size is None:
        return  # no weights at all: transformers makes new ones, and says so
    with pytest.raises(ModelError, match="cannot load a model"):
        TransformersModel.from_pretrained(policy)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "3", '{"prompt": 1}', '{"prompt": {"type": []}}']
)
def test_a_foreign_description_of_a_policy_is_one_error(policy: Path, text: str) -> None:
    (policy / "policy.json").write_text(text)
    assert "no policy can be loaded" in refused(policy)


@pytest.mark.parametrize("name", ["temperature", "max_reply_tokens", "top_k", "top_p", "min_p"])
@pytest.mark.parametrize("value", [None, "1", [], True])
def test_a_sampling_of_foreign_types_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{name}' must be"):
        Sampling(**{name: value})


@pytest.mark.parametrize("value", ["x", 0, [], 1.5])
def test_lora_of_foreign_types_is_named(value: Any) -> None:
    for name in ("r", "alpha"):
        with pytest.raises(InvalidArgumentError, match=f"'{name}' must be"):
            LoraSettings(**{name: value})


def test_a_template_that_refuses_a_prompt_is_one_error() -> None:
    """As templates do that know no system message, or want roles to alternate."""
    made = copy.deepcopy(tokenizer("chatml"))
    made.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ModelError, match="System role not supported"):
        PromptEncoder(made).encode(asked("x")[0])


# ---- endpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"choices": None}, {"choices": 3}, {"choices": {}}, {"choices": [None]}, {"choices": [3]},
        {"choices": [{"finish_reason": "stop", "message": None}]},
        {"choices": [{"finish_reason": "stop", "message": {"content": 3}}]},
        {"choices": [{"finish_reason": "stop", "message": {"content": ["a"]}}]},
    ],
)  # fmt: skip
def test_an_answer_of_foreign_types_is_one_error(serve: Any, change: dict[str, Any]) -> None:  # noqa: F811
    server = serve(lambda body: (200, {**says("left"), **change}))
    with pytest.raises(ModelError, match=f"no reply from 'm' at {server.url}"):
        endpoint(server).sample(asked("x"), streams(1), sampling=SAMPLING)


@pytest.mark.parametrize("count", [None, "x", -1, 1.5, True, [1]])
def test_a_count_of_foreign_type_counts_nothing(serve: Any, count: Any) -> None:  # noqa: F811
    usage = {"prompt_tokens": count, "completion_tokens": count}
    model = endpoint(serve(lambda body: (200, {**says("left"), "usage": usage})))
    (completion,) = model.sample(asked("x"), streams(1), sampling=SAMPLING)
    assert completion.reply_text == "left" and model.usage == Usage(requests=1)


def endpoint(server: Any) -> Any:
    return EndpointModel(server.url, "m", retries=0)

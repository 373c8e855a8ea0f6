"""Where a checkpoint is loaded to: the accelerator of this process, if there is one."""

from pathlib import Path

import pytest
import torch

from lap.lora import LoraSettings
from lap.models import loading
from lap.models.loading import load_checkpoint, own_device
from tests.checkpoints import tiny_model


def test_without_an_accelerator_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device() == torch.device("cpu")


def test_each_launched_process_has_an_accelerator_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda *_: torch.device("cuda"), raising=False
    )
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert own_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device() == torch.device("cuda", 3)


@pytest.mark.parametrize("adapted", [False, True])
def test_a_checkpoint_is_loaded_to_it(
    adapted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    folder = tmp_path / "base"
    if adapted:
        model = tiny_model().from_pretrained(folder).with_lora(LoraSettings(r=2))
        folder = tmp_path / "adapters"
        model.save_pretrained(folder)
    monkeypatch.setattr(loading, "own_device", lambda: torch.device("meta"))
    network, _ = load_checkpoint(folder, dtype=torch.float32)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}

"""Set-up of all tests. Nothing here imports the packages: typeguard, where it is asked for, sees only later imports."""

import os
import sys
import types
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import HealthCheck, settings

# One thread per worker, also in subprocesses: results do not depend on the machine's core count.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)
os.environ["OMP_WAIT_POLICY"] = (
    "PASSIVE"  # the threads of commands leave the cores to other workers
)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches the network

# attrs' stubs make Attribute generic, its class is not, and typeguard evaluates annotations.
if not hasattr(attrs.Attribute, "__class_getitem__"):
    attrs.Attribute.__class_getitem__ = classmethod(types.GenericAlias)

_slow_machine = [HealthCheck.too_slow]
settings.register_profile("dev", deadline=None, suppress_health_check=_slow_machine)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=_slow_machine,
)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=2_000,
    print_blob=True,
    suppress_health_check=_slow_machine,
)
_in_ci = os.environ.get("CI", "").lower() in ("1", "true")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if _in_ci else "dev"))


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    """Commands set the number of threads of the process that they run in; the next test has one again."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

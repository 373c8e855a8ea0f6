"""Checkpoints that are named and lie in no local folder: a hub has them, or its cache on this machine does.

The hub's client asks an unreachable hub six times for each file, and waits for half a minute in between. Before
anything is loaded, the hub is therefore asked once for the configuration, with the client's own timeout
(``HF_HUB_ETAG_TIMEOUT``, by default 10 seconds).
"""

import contextlib
import difflib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging

from lap.errors import ModelError

_CONFIG = "config.json"


@functools.lru_cache(maxsize=64)
def is_in_cache_alone(name: str) -> bool:
    """Whether a named checkpoint must be read from the hub's cache, since the hub cannot be reached or has it no more.

    The hub is asked once in a process.

    Args:
      name: the checkpoint's name on the hub.

    Raises:
      ModelError: there is no such checkpoint, or the hub cannot be reached and its cache has none of that name.
    """
    try:
        get_hf_file_metadata(hf_hub_url(name, _CONFIG), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HFValidationError as error:
        raise ModelError(f"{_unknown(name)}, and no hub has such names{_near(name)}") from error
    except GatedRepoError:  # it is there, and the loader says what is needed to read it
        return False
    except RepositoryNotFoundError as error:
        if not _is_cached(name):
            raise ModelError(
                f"{_unknown(name)}, and the hub has none of that name that may be read from here{_near(name)}"
            ) from error
    except HfHubHTTPError:  # the hub answers, if it is busy: the loader tries again
        return False
    except Exception as error:  # of an HTTP library that differs by version: there is no network
        if not _is_cached(name):
            reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
            raise ModelError(
                f"{_unknown(name)}, the hub's cache has none of that name, and the hub cannot be reached "
                f"({reason}){_near(name)}"
            ) from error
    else:
        return False
    return True


def _unknown(name: str) -> str:
    return f"no checkpoint is called {name!r}: there is no such folder"


def _is_cached(name: str) -> bool:
    return isinstance(try_to_load_from_cache(name, _CONFIG), str)


def _near(name: str) -> str:
    """The end of the sentence: the most similar name in the same folder, if there is one."""
    path = Path(name)
    beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.75)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Within the block, the hub's client does not tell of requests that it repeats, unless its verbosity was raised."""
    level = hub_logging.get_verbosity()
    if level == logging.WARNING:
        hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)

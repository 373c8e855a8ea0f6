"""Inference servers of a run: what can be refused before anything is loaded, and where a resumed run finds them."""

import attrs

from algorithms.method.config import MSGRPOConfig
from tsmg import InvalidArgumentError

ENGINE_PLACES = ("engine", "engine_folder", "engine_timeout")
"""Fields of ``RunSpec`` that say where something is computed: a resumed run may find it elsewhere."""

STALENESS_NEEDS_ENGINE = (
    "'max_staleness' is of use where an engine plays while this process learns, and here one process does both in "
    "turn: name an 'engine', or leave 'max_staleness' out"
)


def may_have_moved(name: str, old: object, new: object) -> bool:
    """Whether a resumed run may have another value of a field; it may not begin or cease to play on an engine.

    Args:
      name: of the field of ``RunSpec``.
      old: its value in the run; ``None`` if it is not set.
      new: its value now; likewise.

    Example:
      >>> here, there = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
      >>> may_have_moved("engine", here, there), may_have_moved("engine", here, None)
      (True, False)
    """
    return name in ENGINE_PLACES and (name != "engine" or None not in (old, new))


def check_engine(
    engine: str, *, model: str | None, constrained: bool, config: MSGRPOConfig
) -> None:
    """Refuse settings that are incompatible with play on an inference server, before one is contacted.

    Args:
      engine: the addresses, as ``RunSpec`` has them.
      model: the checkpoint that is trained.
      constrained: whether replies are constrained to legal actions.
      config: the settings of the method.

    Raises:
      InvalidArgumentError: the message says what to leave out.
    """
    from lap.remote.client import Address

    Address.parse_all(engine)
    if model is None:
        raise InvalidArgumentError(
            "'engine' plays the checkpoint that it serves; name the same checkpoint by 'model'"
        )
    if constrained:
        raise InvalidArgumentError(
            "'constrained' draws along the legal actions, which an engine does not know; leave it or 'engine' out"
        )
    for name in ("top_k", "top_p", "min_p"):
        value = getattr(config, name)
        if value != attrs.fields_dict(MSGRPOConfig)[name].default:
            raise InvalidArgumentError(
                f"an engine does not say which tokens truncation kept; leave {name!r} or 'engine' out (got {value})"
            )

"""Methods of a game's class that nobody calls, since their names are almost those of the interface."""

import difflib
import inspect

from tsmg.errors import InvalidArgumentError
from tsmg.game import AbstractExplicitGame, AbstractGame, AbstractSampledGame

_CLOSE = 0.85
_INTERFACE = {
    name: value
    for kind in (AbstractExplicitGame, AbstractSampledGame)
    for name, value in inspect.getmembers(kind)
    if not name.startswith("_")
}


def misnamed(kind: type) -> dict[str, str]:
    """Interface methods that a class does not override, each with a method of the class whose name is almost the same.

    Example:
      >>> class Dial(AbstractSampledGame[int, int]):
      ...     def observation_texts(self, state, agent):
      ...         return "dial"
      >>> misnamed(Dial)
      {'observation_text': 'observation_texts'}
    """
    open_names = [name for name, value in _INTERFACE.items() if _is_left(kind, name, value)]
    found = {}
    for name in dir(kind):
        if name not in _INTERFACE and not name.startswith("_"):
            for close in difflib.get_close_matches(name, open_names, n=1, cutoff=_CLOSE):
                found[close] = name
    return found


def _is_left(kind: type, name: str, value: object) -> bool:
    own = getattr(kind, name, None)
    return own is value or bool(getattr(own, "__isabstractmethod__", False))


def require_complete(build: object, name: str) -> None:
    """Check that a class of games implements the interface; other builders pass.

    Args:
      build: whatever makes a game.
      name: its name, for messages.

    Raises:
      InvalidArgumentError: a method is missing.
    """
    if not (
        isinstance(build, type) and issubclass(build, AbstractGame) and inspect.isabstract(build)
    ):
        return
    close = misnamed(build)
    missing = [
        f"{method!r} (or is {close[method]!r} meant to be it?)" if method in close else repr(method)
        for method in sorted(build.__abstractmethods__)
    ]
    raise InvalidArgumentError(f"{name}: the class must define {', '.join(missing)}")

"""Errors: one root, a standard error behind each, one clear message, and a pickle that survives."""

import inspect
import pickle

import pytest

import algorithms.errors
import lap.errors
import tsmg.errors
from tsmg import TSMGError

ERRORS = [
    cls
    for module in (tsmg.errors, lap.errors, algorithms.errors)
    for _, cls in inspect.getmembers(module, inspect.isclass)
    if cls is not TSMGError
]


def survives_a_pickle(error: Exception) -> bool:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except TypeError:
        return False
    return type(copy) is type(error) and copy.args == error.args and str(copy) == str(error)


@pytest.mark.parametrize("cls", [TSMGError, *ERRORS])
def test_errors_survive_a_pickle(cls: type[Exception]) -> None:
    assert survives_a_pickle(cls("'gamma' must be in [0, 1] (got 1.5)"))


class TwoArgumentsError(TSMGError):
    """A wrong implementation: it builds its message from two arguments."""

    def __init__(self, name: str, value: object) -> None:
        super().__init__(f"{name} is wrong (got {value})")


def test_an_error_with_arguments_of_its_own_is_noticed() -> None:
    assert not survives_a_pickle(TwoArgumentsError("gamma", 1.5))


@pytest.mark.parametrize("cls", ERRORS)
def test_each_error_refines_a_standard_one(cls: type[Exception]) -> None:
    standard = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    assert issubclass(cls, TSMGError)
    assert standard[0] not in (Exception, BaseException, object)

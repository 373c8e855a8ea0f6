"""What hostile files name: that it is imported in a case is a finding."""

from tests.fuzz.guard import executed

executed("a module was imported that a stranger's file names")


def run(*arguments: object, **named: object) -> None:
    """What a hostile file names as a class or a function."""
    executed("a function was called that a stranger's file names")

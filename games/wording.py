"""Parts of sentences that the texts of several games have in common."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and the noun that it counts.

    Args:
      number: how many.
      noun: the noun in the singular.
      plural: its plural; the noun with an ``s`` unless given.

    Example:
      >>> counted(1, "step"), counted(2, "step"), counted(0, "guess", "guesses")
      ('1 step', '2 steps', '0 guesses')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"

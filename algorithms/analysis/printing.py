"""Texts of models, games and strangers' files on a terminal."""


def printable(text: str) -> str:
    r"""A text without characters that a terminal obeys.

    Example:
      >>> printable("a\x1b[2Jb")
      'a[2Jb'
    """
    return "".join(c for c in text if c in "\n\t" or c.isprintable())

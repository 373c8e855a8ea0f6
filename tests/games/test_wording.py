"""Parts of sentences that the texts of several games have in common."""

import pytest

from games import bandit, gathering, minesweeper
from games.wording import counted


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "step", "", "0 steps"),
        (1, "step", "", "1 step"),
        (2, "step", "", "2 steps"),
        (1, "guess", "guesses", "1 guess"),
        (3, "guess", "guesses", "3 guesses"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, noun: str, plural: str, text: str) -> None:
    assert counted(number, noun, plural) == text


def test_rules_agree_with_their_numbers() -> None:
    mines = [
        minesweeper.Minesweeper(rows=3, columns=3, mines=n).rules_text("player") for n in (1, 2)
    ]
    assert [text.split(" hidden")[0] for text in mines] == ["1 mine is", "2 mines are"]
    pulls = [bandit.BernoulliBandit(pulls=n).rules_text("player") for n in (1, 4)]
    assert ["1 time in all" in text for text in pulls] == [True, False]
    assert "4 times in all" in pulls[1]
    orchard = gathering.Gathering(apple_delay=1, tagged_steps=3, reach=1)
    assert all(
        part in orchard.rules_text("player_1")
        for part in ("grows back 1 step later", "1 cell far", "out for 3 steps")
    )

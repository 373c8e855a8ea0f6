"""A batch rule: advantages are whitened over the batch's replies, apart for switches, subgoals and actions (HiPER)."""

from collections.abc import Sequence
from typing import final

from algorithms.method.advantages import Advantage, mean_and_std, token_advantages
from algorithms.method.batch import RoleGroup, places_by_agent
from algorithms.method.rules import Reading
from algorithms.method.subgoal_replies import PARTS, Part, Spell, read_replies, spelling


@final
class WhitenedParts:
    """A batch rule: advantages minus their mean over the batch's replies, over their deviation, part by part.

    The deviation is that of the population, plus eps; without any, advantages are 0. A part counts once in a reply,
    however many tokens it has, and agents are compared apart from each other.

    Source: HiPER, arXiv:2602.16165, by its public code, where eps is 1e-8.

    Args:
      eps: added to the deviation.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps
        self.reading: Reading | None = None

    def bind(self, reading: Reading) -> None:
        """Learn how episodes are read: by their game and policies."""
        self.reading = reading

    def __call__(self, role_groups: Sequence[RoleGroup]) -> list[list[list[Advantage]]]:
        """The new advantages of each group, one of each token."""
        changed: dict[int, list[list[Advantage]]] = {}
        for agent, numbers in places_by_agent(role_groups).items():
            spell = spelling(self.reading, agent)
            found = self._of_agent([role_groups[n] for n in numbers], spell)
            changed |= zip(numbers, found, strict=True)
        return [changed[n] for n in range(len(role_groups))]

    def _of_agent(self, own: Sequence[RoleGroup], spell: Spell) -> list[list[list[Advantage]]]:
        rows = [
            [
                [
                    (reply.parts_L, token_advantages(credit, len(reply.parts_L)))
                    for reply, credit in zip(
                        read_replies(completions, spell), credits_T, strict=True
                    )
                ]
                for completions, credits_T in zip(g.completions_G, g.credits_G, strict=True)
            ]
            for g in own
        ]
        replies = [reply for group in rows for episode in group for reply in episode]
        of_parts = [dict(zip(*reply, strict=True)) for reply in replies]
        moments = {part: mean_and_std([a[part] for a in of_parts if part in a]) for part in PARTS}

        def whitened(part: Part | None, advantage: float) -> float:
            if part is None:
                return 0.0
            mean, std = moments[part]
            return (advantage - mean) / (std + self.eps) if std else 0.0

        return [
            [[tuple(map(whitened, *reply)) for reply in episode] for episode in group]
            for group in rows
        ]

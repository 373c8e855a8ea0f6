"""Two roles of a game, one policy: self-play, a fixed opponent, and roles in turn: ``python examples/self_play.py``.

A matchup says for each group which policy plays which agent, and which agents learn. ``docs/how_to/self_play.md`` and
``docs/theory/04_several_agents.md`` say more.
"""

import games
import lap
import tsmg
from algorithms import MSGRPOConfig, MSGRPOTrainer
from algorithms.play.matchups import AbstractMatchups, AlternatingRoles, FixedOpponents, SelfPlay


class OftenHeads(tsmg.AbstractPlayer[object, int]):
    """A player of matching pennies who says heads three times in four."""

    def action_dist(self, state: object, agent: str) -> tsmg.Distribution[int]:
        """Actions 0 and 1 are heads and tails."""
        return tsmg.Finite({0: 0.75, 1: 0.25})


def tabular_policy() -> lap.LanguageAgentPolicy[lap.TabularModel]:
    """A policy that has learnt nothing; a ``lap.TransformersModel`` takes the table's place without other changes."""
    return lap.LanguageAgentPolicy(
        model=lap.TabularModel(vocabulary=("heads", "tails")), parser=lap.WholeReplyParser()
    )


def main(updates: int = 20) -> dict[str, float]:
    """Train under three matchups; returns what the learner earns in the end, by the matchup's name."""
    game = games.make(
        "MatchingPennies-v0"
    )  # row wins where both say the same, column wins otherwise
    config = MSGRPOConfig(
        updates=updates,
        groups=4,
        group_size=8,
        kept_episodes=4,
        max_reply_tokens=2,
        learning_rate=0.2,
        kl_coefficient=0.0,
    )
    opponent = tsmg.PlayerPolicy(game, OftenHeads())
    matchups: dict[str, AbstractMatchups] = {
        "self-play": SelfPlay(),  # both agents learn, with shared weights: zero-sum, so the mean return stays 0
        "fixed opponent": FixedOpponents(
            {"column": opponent}
        ),  # row learns; always heads is best, and pays 1/2
        "alternating roles": AlternatingRoles(opponent),  # one agent of each group learns, in turn
    }
    rewards = {}
    for name, matchup in matchups.items():
        trainer = MSGRPOTrainer(game=game, policy=tabular_policy(), config=config, matchups=matchup)
        before = trainer.evaluate(200).reward
        trainer.train()
        rewards[name] = trainer.evaluate(200).reward
        print(
            f"{name:18} mean return of the learners: {before:5.2f} before, {rewards[name]:5.2f} after"
        )
    return rewards


if __name__ == "__main__":
    main()

"""A game: its rules, its texts, the kit that checks it, and an episode of it: ``python examples/define_a_game.py``.

``docs/tutorials/define_a_game.md`` grows such a game line by line.
"""

from collections.abc import Mapping

import attrs

import tsmg
from tsmg.testing import Report, check_game

State = tuple[int, int]  # where the player stands, and where the treasure lies


@attrs.frozen(kw_only=True)
class Corridor(tsmg.AbstractExplicitGame[State, int]):
    """Find the treasure in a corridor.

    Attributes:
      length: how many cells the corridor has.
      horizon: time limit, in steps.
    """

    length: int = 5
    horizon: int = 8
    agents = ("seeker",)
    invalid_rule = tsmg.StandStill(penalty=0.1)  # a reply that names no move costs a step and 0.1
    facts = tsmg.Facts(perfect_information=True, text_separates_states=True, return_bounds=(0, 1))

    # The rules: states are values, and chance is a distribution that is written once.

    def initial_state_dist(self) -> tsmg.Distribution[State]:
        """Two different cells, all pairs alike."""
        cells = range(self.length)
        return tsmg.uniform([(a, b) for a in cells for b in cells if a != b])

    def is_terminal(self, state: State) -> bool:
        """Whether the treasure is found."""
        return state[0] == state[1]

    def acting_agents(self, state: State) -> tuple[str, ...]:
        """The seeker, until the treasure is found."""
        return () if self.is_terminal(state) else self.agents

    def legal_actions(self, state: State, agent: str) -> tuple[int, ...]:
        """The steps that stay in the corridor."""
        steps = () if self.is_terminal(state) else (-1, 1)
        return tuple(step for step in steps if 0 <= state[0] + step < self.length)

    def transition_dist(
        self, state: State, joint_action: Mapping[str, int]
    ) -> tsmg.Distribution[tsmg.Transition[State]]:
        """A step; the treasure is worth 1."""
        after = (state[0] + joint_action["seeker"], state[1])
        return tsmg.deterministic(tsmg.Transition(after, (float(self.is_terminal(after)),)))

    # The texts: functions of the state alone.

    def rules_text(self, agent: str) -> str:
        """What the player is told once."""
        return (
            f"Cells 0 to {self.length - 1} in a row. A move is left or right. Reach the treasure."
        )

    def observation_text(self, state: State, agent: str) -> str:
        """What the player reads before each move."""
        return f"you are in cell {state[0]}, the treasure is in cell {state[1]}"

    def action_text(self, state: State, agent: str, action: int) -> str:
        """What the player writes; reading it back is derived from this."""
        return "right" if action == 1 else "left"

    def success(self, episode: tsmg.Episode[State], agent: str) -> bool:
        """What a run reports as success."""
        return self.is_terminal(episode.final_state.state)


def main(examples: int = 40) -> Report:
    """Check the game's declared rules on drawn episodes, and show one episode of a uniform player."""
    report = check_game(Corridor, max_examples=examples)
    report.raise_if_broken()
    game = Corridor()
    uniform = tsmg.PlayerPolicy(game, tsmg.UniformPlayer(game))
    (episode,) = tsmg.play(game, uniform, [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=1))])
    assert isinstance(episode, tsmg.Episode)
    for step in episode.agent_steps("seeker"):
        print(f"{step.observation.text} -> {step.reply.text}")
    print(f"{episode.ending.value}, return {episode.episode_return('seeker'):g}")
    return report


if __name__ == "__main__":
    main()

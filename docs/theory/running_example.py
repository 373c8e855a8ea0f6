"""The running example of the section on the formalism; its pages are executed with these names.

Two cells in a row, two words, two steps. In the west cell lies a coin, in the east cell stands a chest. "take" in the
west pays 1 and ends the episode; "go" costs a toll of 1 and leads east. "take" in the east opens the chest, which pays
5 with probability 2/5 and else nothing, and ends the episode; "go" leads back west. A reply that names no legal action
leaves all as it is and costs 1, and the walker's next observation says so.
"""

from collections.abc import Iterable
from fractions import Fraction

from algorithms import MSGRPOConfig
from lap import MemorylessPrompt
from proofs import Trajectory, TrajectoryDistribution
from proofs.exact.gradients import Array
from proofs.small_games import FiniteGame, tabular_policy
from tsmg import (
    EpisodeGroup,
    EpisodeKey,
    Finite,
    History,
    Observation,
    Request,
    StandStill,
    Transition,
    deterministic,
)

CHEST = Finite(
    {Transition("end", (5.0,)): Fraction(2, 5), Transition("end", (0.0,)): Fraction(3, 5)}
)
RULE = StandStill(penalty=1.0, with_feedback=True)
GAME = FiniteGame(
    agents=("walker",),
    starts=deterministic("west"),
    moves={
        "west": {
            ("take",): deterministic(Transition("end", (1.0,))),
            ("go",): deterministic(Transition("east", (-1.0,))),
        },
        "east": {("take",): CHEST, ("go",): deterministic(Transition("west", (0.0,)))},
    },
    invalid_rule=RULE,
    horizon=2,
)

WEST, EAST = "west", "east"
AFTER_INVALID = "west\nYour last reply could not be read: it had no action in the required form."
WORDS = (
    "go",
    "take",
    "",
)  # the last one ends a reply: alone it is an empty reply, which is malformed
DISTS = {
    WEST: {"go": 0.5, "take": 0.25, "": 0.25},
    EAST: {"go": 0.5, "take": 0.5},
    AFTER_INVALID: {"take": 1.0},
}
POLICY = tabular_policy(
    ("go", "take"), dists=DISTS, capacity=3, prompt=MemorylessPrompt(with_rules=False)
)
PLAY = TrajectoryDistribution.of(GAME, POLICY)


def words_of(trajectory: Trajectory, agent: str = "walker") -> tuple[str, ...]:
    """The agent's replies in an episode, word by word."""
    return tuple(step.reply.text for step in trajectory.episode.agent_steps(agent))


def find(words: tuple[str, ...], earned: float) -> Trajectory:
    """The trajectory with these words and this return."""
    (trajectory,) = (
        x
        for x in PLAY.trajectories
        if words_of(x) == words and x.episode.episode_return("walker") == earned
    )
    return trajectory


COIN = find(("take",), 1.0)
LUCK = find(("go", "take"), 4.0)
BAD_LUCK = find(("go", "take"), -1.0)
BACK = find(("go", "go"), -1.0)
SLIP = find(("", "take"), 0.0)
TRAJECTORIES = {"coin": COIN, "luck": LUCK, "bad luck": BAD_LUCK, "back": BACK, "slip": SLIP}


def ask(text: str) -> Request:
    """The walker is asked for a reply, having read this and nothing before."""
    history = History(agent="walker", rules="", turns=(), observation=Observation(text=text))
    return Request(history=history, key=EpisodeKey(seed=0), step=0)


def score(trajectory: Trajectory) -> Array:
    """The gradient of the log-probability of the walker's replies in a trajectory. Shape (9,)."""
    completions = [
        PLAY.completion_number("walker", completion)
        for _, completion in trajectory.episode.completions("walker")
    ]
    total: Array = PLAY.scores_C_D[completions].sum(axis=0)
    return total


# Four episodes that one group could hold.
GROUP = EpisodeGroup(episodes=tuple(trajectory.episode for trajectory in (LUCK, COIN, COIN, SLIP)))


def config(**settings: object) -> MSGRPOConfig:
    """One group of two, every episode trained on, the group's mean, no std, unless the settings say otherwise."""
    plain = {"groups": 1, "group_size": 2, "sampling": "all", "std": "none", "eps": 0.0}
    return MSGRPOConfig(**{**plain, **settings})  # type: ignore[arg-type]


def exact(value: object, most: int = 5000) -> object:
    """A number, or numbers, as the fractions that they are to within 1e-9.

    Raises:
      ValueError: a number is no fraction with a denominator of at most ``most``.
    """
    if isinstance(value, Iterable):
        return [exact(one, most) for one in value]
    number = float(value)  # type: ignore[arg-type]
    fraction = Fraction(number).limit_denominator(most)
    if abs(float(fraction) - number) > 1e-9:
        raise ValueError(f"{number} is no fraction with a denominator of at most {most}")
    return Shown(fraction)


class Shown(Fraction):
    """A fraction that is shown as 2/5."""

    def __repr__(self) -> str:
        return str(self)

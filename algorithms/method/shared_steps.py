"""Credit of steps that several episodes of a group took: the mean of these episodes' advantages.

The episodes of a group are paths in one graph, whose edges are transitions: what an agent read and did lately, what it
does, and what it reads next. Equal edges are one, with the mean of the advantages of all episodes that pass it.

If equal steps have equal prompts and replies, the sum of their terms does not change: with constant weights, at the
first optimiser step on a batch, averaging has no effect (``tsmg prove --only shared``). It has an effect if weights
differ by episode, if the same action is written in several ways, or if clipping treats different advantages
differently.

Example:
  >>> import functools, games, lap, tsmg
  >>> from algorithms.method.advantages import group_relative_advantages
  >>> game = games.make("LineWalk-v0", length=4, horizon=4)
  >>> policy = lap.LanguageAgentPolicy(
  ...     model=lap.TabularModel(("left", "right")),
  ...     parser=lap.WholeReplyParser(),
  ...     sampling=lap.Sampling(max_reply_tokens=1),
  ... )
  >>> specs = [tsmg.EpisodeSpec(key=tsmg.EpisodeKey(seed=2, episode=e)) for e in range(4)]
  >>> group = tsmg.EpisodeGroup(episodes=tuple(tsmg.play(game, policy, specs)))
  >>> centred = functools.partial(group_relative_advantages, std="none")
  >>> [[own.reply.text for own in e.agent_steps("walker")] for e in group.episodes]
  [['right', 'left', 'right', ''], ['', 'left', 'left'], ['right', 'right'], ['right', '', '', 'right']]
  >>> found = shared_step_credit(group, "walker", relative=centred)  # three go right at first, and two are paid
  >>> [[round(a, 3) for a in row] for row in found]
  [[0.167, -0.5, -0.5, -0.5], [-0.5, -0.5, -0.5], [0.167, 0.5], [0.167, 0.5, 0.5, 0.5]]
"""

from collections.abc import Hashable

import numpy as np

from algorithms.method.episode_credit import Group, Relative
from tsmg import Episode, Observation

HISTORY = 3


def shared_step_credit(
    group: Group, agent: str, *, relative: Relative, history: int = HISTORY
) -> list[list[float]]:
    """The episode's advantage, averaged over all equal steps of the group.

    Steps are equal if the agent's action is equal, and its last ``history`` actions with what it read after each are
    equal both before and after the step. An action is the text that the parser found in the reply, or why there is
    none. A step that an episode takes twice counts twice.

    Source: SALT, arXiv:2510.20022, by the page of an implementation that follows its Algorithm 1 (the transition, the
    mean over all occurrences, 3 actions) and by section A.3 of arXiv:2609.28963. That what an agent would read at the
    end of an episode closes the last transition is ours [ours].

    Args:
      group: the episodes.
      agent: the agent whose steps are credited.
      relative: compares returns.
      history: h, how many past actions a state has.

    Theory: Equation 9.7.
    """
    advantages_G = relative(group.returns_G(agent)).tolist()
    keys_G = [_transitions(episode, agent, history) for episode in group.episodes]
    passing: dict[Hashable, list[float]] = {}
    for advantage, keys in zip(advantages_G, keys_G, strict=True):
        for key in keys:
            passing.setdefault(key, []).append(advantage)
    means = {key: float(np.mean(advantages)) for key, advantages in passing.items()}
    return [
        [
            means[key]
            for key, own in zip(keys, episode.agent_steps(agent), strict=True)
            for _ in own.reply.completions
        ]
        for keys, episode in zip(keys_G, group.episodes, strict=True)
    ]


def _transitions(
    episode: Episode[object], agent: str, history: int
) -> list[tuple[Hashable, Hashable]]:
    """For each step, the actions and the readings of the states before and after it."""
    steps = episode.agent_steps(agent)
    actions = [own.reply.parser_outcome for own in steps]
    readings = [own.observation for own in steps]
    readings.append(Observation(text=episode.final_observations[agent]))
    return [
        (
            tuple(actions[max(0, t - history) : t + 1]),
            tuple(readings[max(0, t - history + 1) : t + 2]),
        )
        for t in range(len(steps))
    ]

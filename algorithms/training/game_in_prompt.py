"""What a prompt shows of its game besides the rules: an action in the reply format, and examples of play.

Both are data of the parser and the prompt, saved with the policy. They come from starts of a phase of their own, with a
fixed seed: every run of a game shows the same ones, whatever its own seed is.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeVar, final

import attrs

from algorithms.training.opponents import check_examples
from lap import (
    Example,
    LanguageAgentPolicy,
    LastTurnsPrompt,
    MemorylessPrompt,
    SubgoalParser,
    TagParser,
)
from tsmg import (
    AbstractGame,
    AbstractPlayer,
    Distribution,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    InvalidArgumentError,
    Match,
    Phase,
    PlayerPolicy,
    deterministic,
    distinct_episodes,
    play,
)

_EPISODES = 16  # that are played for each example, so that different actions can be found
_MOVES_OF_CHANCE = 100  # at most, before anybody acts
_ANY_ACTION = TagParser().example

Game = AbstractGame[Any, Any]
A = TypeVar("A", bound=Hashable)


def example_action(game: Game) -> str:
    """The action text that the reply format shows: that of the first legal action at a fixed start.

    If actions are not listed, it is the most probable action of the game's scripted player there.

    It is the same in all states, and so reveals nothing about them.

    Returns:
      The text; ``ACTION`` if the game neither lists actions nor has a player, or if no action fits into a tag.
    """
    return next(iter(_action_texts(game)), _ANY_ACTION)


def _action_texts(game: Game) -> list[str]:
    """The canonical texts of actions of the first agent that acts, at a fixed start."""
    try:
        match = Match.begin(game, EpisodeSpec[Any](key=EpisodeKey(seed=0, phase=Phase.EXAMPLES)))
        for _ in range(_MOVES_OF_CHANCE):
            if match.acting or match.ending:
                break
            match = match.move({})
        state, agents = match.state.state, match.acting
        texts = [
            game.action_text(state, agent, action)
            for agent in agents[:1]
            for action in _shown_actions(game, state, agent)
        ]
    except Exception:  # noqa: BLE001 - the runner meets the same error again, and records it
        return []
    return [text for text in texts if _fits_a_tag(text)]


def _shown_actions(game: Game, state: Hashable, agent: str) -> Sequence[Any]:
    """The legal actions; where they are not listed, the most probable ones of the scripted player."""
    legal, player = game.legal_actions(state, agent), game.scripted_player()
    if legal is None and player is not None:
        return _modes(player.action_dist(state, agent))
    return legal or ()


def _fits_a_tag(text: str) -> bool:
    try:
        TagParser(example=text)
    except InvalidArgumentError:
        return False
    return True


def examples_of_play(game: Game, count: int) -> tuple[tuple[str, str], ...]:
    """Turns of the game as its scripted player plays it: what an agent reads, and the player's most probable action.

    They have different observations, and as many different actions and starts as possible. Turns at which one
    action is more probable than all others come first.

    Args:
      game: the game; pass the training part of a split game.
      count: number of turns; fewer are returned if no more different ones are met.

    Returns:
      Pairs of an observation and the canonical text of the action.

    Raises:
      InvalidArgumentError: the game has no scripted player, or no turn is met.
    """
    check_examples(game)
    found = sorted(_turns(game, _EPISODES * count), key=lambda turn: not turn.is_clear)
    chosen: list[_Turn] = []
    while len(chosen) < count:
        read = {turn.observation for turn in chosen}
        left = [turn for turn in found if turn.observation not in read]
        if not left:
            break
        actions = Counter(turn.action for turn in chosen)
        episodes = Counter(turn.episode for turn in chosen)
        chosen.append(min(left, key=lambda t: (actions[t.action], episodes[t.episode])))
    if not chosen:
        raise InvalidArgumentError(f"'examples': no turn of {game.name} could be played")
    return tuple((turn.observation, turn.action) for turn in chosen)


@attrs.frozen(kw_only=True)
class _Turn:
    """What an agent read and did, in which episode, and whether one action was more probable than all others."""

    observation: str
    action: str
    episode: int
    is_clear: bool


@final
@attrs.frozen
class _MostProbable(AbstractPlayer[Any, Any]):
    """The most probable action of a player."""

    player: AbstractPlayer[Any, Any]

    def action_dist(self, state: Hashable, agent: str) -> Distribution[Any]:
        return deterministic(_modes(self.player.action_dist(state, agent))[0])


def _modes(dist: Distribution[A]) -> list[A]:
    pmf = dist.pmf()
    most = max(pmf.values())
    return [action for action, probability in pmf.items() if probability == most]


def _turns(game: Game, episodes: int) -> Iterator[_Turn]:
    player = game.scripted_player()
    assert player is not None  # noqa: S101 - checked
    specs = distinct_episodes(game, episodes, seed=0, phase=Phase.EXAMPLES)
    played = play(game, PlayerPolicy(game, _MostProbable(player)), specs)
    for number, episode in enumerate(played):
        for step in episode.steps if isinstance(episode, Episode) else ():
            for done in step.agent_steps:
                modes = _modes(player.action_dist(step.state.state, done.agent))
                yield _Turn(
                    observation=done.observation.text,
                    action=done.reply.text,
                    episode=number,
                    is_clear=len(modes) == 1,
                )


def shown_the_game(
    policy: LanguageAgentPolicy[Any],
    game: Game,
    examples: Sequence[tuple[str, str]],
    *,
    prefill: bool,
) -> LanguageAgentPolicy[Any]:
    """A policy whose prompts show examples, and whose replies have a given beginning, if that is requested.

    A reply format that shows an action of another game shows one of this game.

    Args:
      policy: the policy; as it was saved, perhaps for another game.
      game: the game that it is to play.
      examples: pairs of an observation and an action text; none leaves the policy's own.
      prefill: whether replies are begun with the parser's opening; otherwise as the policy has it.

    Raises:
      InvalidArgumentError: the parser has no opening, or the prompt cannot show examples.
    """
    parser, prompt = policy.parser, policy.prompt
    if isinstance(parser, TagParser | SubgoalParser) and parser.example != _ANY_ACTION:
        texts = _action_texts(game)
        if parser.example not in texts:
            parser = attrs.evolve(parser, example=texts[0] if texts else _ANY_ACTION)
    if examples:
        if not isinstance(prompt, MemorylessPrompt | LastTurnsPrompt):
            raise InvalidArgumentError(f"{type(prompt).__name__} cannot show 'examples'")
        shown = [
            Example(read, parser.without_thoughts(parser.wrap(action))) for read, action in examples
        ]
        prompt = attrs.evolve(prompt, examples=shown)
    opening = parser.opening()
    if prefill and not opening:
        raise InvalidArgumentError(
            f"'prefill' needs replies that begin alike, and {type(parser).__name__} has no opening"
        )
    return attrs.evolve(
        policy, prompt=prompt, parser=parser, prefill=opening if prefill else policy.prefill
    )

"""Golden play: a readable transcript of every registered game, which nobody changes by accident.

``UPDATE_GOLDEN=1 pytest tests/games/test_golden.py`` writes the transcripts anew; read the diff.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import games
from tsmg import (
    AbstractGame,
    AgentStep,
    Episode,
    EpisodeKey,
    EpisodeSpec,
    PlayerPolicy,
    Step,
    UniformPlayer,
    play,
)

FOLDER = Path(__file__).parent / "golden"
IDS = [spec.id for spec in games.registered() if spec.build.__module__.startswith("games.")]
EPISODES = 2


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def _told(step: AgentStep) -> Iterable[str]:
    yield f"  {step.agent} reads:"
    yield _indented(step.observation.text)
    yield f"  {step.agent} says {step.reply.text!r}: {step.outcome.kind.value}, {step.played}"


def _lines(game: AbstractGame[Any, Any], episode: Episode[Any]) -> Iterable[str]:
    yield f"episode {episode.key.episode}"
    for step in episode.steps:
        yield f"step {step.t}"
        for agent_step in step.agent_steps:
            yield from _told(agent_step)
        yield _paid(step)
    yield f"{episode.ending.value} after {len(episode.steps)} steps"
    for agent in episode.agents:
        yield f"  {agent} reads:"
        yield _indented(episode.final_observations[agent])
        outcome = f"return {episode.episode_return(agent)}, success {game.success(episode, agent)}"
        yield f"  {agent}: {outcome}"


def _paid(step: Step[Any]) -> str:
    return f"  rewards {step.rewards_N}, penalties {step.penalties_N}"


def transcript(id: str, seed: int = 0) -> str:
    """Two episodes of the game's scripted player (a uniform one if it has none)."""
    game = games.make(id)
    player = game.scripted_player() or UniformPlayer(game)
    lines = [f"{id}, seed {seed}, {type(player).__name__}"]
    for agent in game.agents:
        lines += [f"rules for {agent}:", _indented(game.rules_text(agent))]
    keys = [EpisodeKey(seed=seed, episode=episode) for episode in range(EPISODES)]
    for record in play(game, PlayerPolicy(game, player), [EpisodeSpec(key=key) for key in keys]):
        assert isinstance(record, Episode)
        lines += ["", *_lines(game, record)]
    return "\n".join(lines) + "\n"


def is_golden(folder: Path, id: str, text: str) -> bool:
    """The game has a transcript, and it is this text."""
    file = folder / f"{id}.txt"
    return file.is_file() and file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("id", IDS)
def test_golden_play(id: str) -> None:
    text = transcript(id)
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{id}.txt").write_text(text, encoding="utf-8")
    assert is_golden(FOLDER, id, text), f"{id}: run with UPDATE_GOLDEN=1 and read the diff"


def test_every_transcript_belongs_to_a_registered_game() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(IDS)


def test_missing_and_changed_transcripts_are_noticed(tmp_path: Path) -> None:
    id = IDS[0]
    text = transcript(id)
    assert not is_golden(tmp_path, id, text)
    (tmp_path / f"{id}.txt").write_text(text, encoding="utf-8")
    assert is_golden(tmp_path, id, text)
    assert not is_golden(tmp_path, id, transcript(id, seed=1))

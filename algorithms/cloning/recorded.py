"""Recorded episodes as demonstrations: the transcripts of run folders, and of files of the same form."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from algorithms.cloning.config import Replies
from algorithms.cloning.demonstrations import (
    Decision,
    Demonstration,
    Game,
    check_successes,
    merged,
)
from algorithms.errors import RunFolderError
from algorithms.runs.records import Record, episode_fault, read_config, read_lines
from algorithms.runs.writer import CONFIG, EPISODES
from lap.parsers import AbstractParser
from lap.prompts import AbstractPrompt
from tsmg import ActionText, History, InvalidArgumentError, Observation, OutcomeKind, Phase, Turn

_KINDS = {kind.value: kind for kind in OutcomeKind}


def read_episodes(path: str | Path, game: Game, arguments: Mapping[str, Any]) -> list[Record]:
    """The transcripts in a run folder or a ``.jsonl`` file.

    Args:
      path: the folder, or the file.
      game: whose episodes they must be.
      arguments: the arguments of the game; a run folder that records others is of another game.

    Raises:
      InvalidArgumentError: they cannot be read, are of another game, or there are none.
    """
    file = Path(path) / EPISODES if Path(path).is_dir() else Path(path)
    try:
        records = read_lines(file)
        run = read_config(file.parent) if (file.parent / CONFIG).is_file() else None
    except RunFolderError as error:
        raise InvalidArgumentError(f"no episodes to clone: {error}") from error
    if not records:
        raise InvalidArgumentError(f"no episodes to clone: {str(file)!r} is empty")
    for number, record in enumerate(records, start=1):
        if fault := _fault(record, game):
            raise InvalidArgumentError(f"{str(file)!r}, episode {number}: {fault}")
    there = {} if run is None else run["spec"].get("game", {}).get("arguments", {})
    here = json.loads(json.dumps(dict(arguments)))
    if run is not None and there != here and "given_parts" not in run:
        raise InvalidArgumentError(
            f"the episodes in {str(file)!r} are of another game: {game.name} with the arguments {there} (got {here})"
        )
    return list(records)


def _fault(record: Record, game: Game) -> str:
    """Why a transcript cannot be cloned; nothing if it can."""
    if record.get("game") != game.name:
        return f"it is of another game, {record.get('game')!r} (the game is {game.name!r})"
    if fault := episode_fault(record):
        return fault
    for step in record["steps"]:
        for agent in step["agents"]:
            if agent.get("agent") not in game.agents:
                return f"it is of other agents, such as {agent.get('agent')!r} (the game has {', '.join(game.agents)})"
            texts = (agent.get(name) for name in ("observation", "feedback", "reply"))
            if not all(isinstance(text, str) for text in texts):
                return "fields 'observation', 'feedback' and 'reply' must be texts"
            if agent.get("outcome") not in _KINDS:
                return f"field 'outcome' must be one of {', '.join(_KINDS)} (got {agent.get('outcome')!r})"
    return ""


def without_evaluations(records: Sequence[Record]) -> list[Record]:
    """The episodes that no evaluation played, since those began on held-out starts.

    Raises:
      InvalidArgumentError: no episode is left.
    """
    kept = [record for record in records if record.get("phase") != Phase.EVALUATION.value]
    if not kept:
        raise InvalidArgumentError(
            f"all {len(records)} episodes are from evaluations, on held-out starts; "
            "--held-out 0 clones them anyway"
        )
    return kept


def held_out_share(records: Sequence[Record], share: float) -> tuple[list[Record], list[Record]]:
    """The episodes to clone, and about this share of all to measure the clone on, by a hash of the first observation.

    Episodes that begin alike are on the same side.

    Args:
      records: transcripts.
      share: in [0, 1).
    """
    sides: tuple[list[Record], list[Record]] = [], []
    for record in records:
        read = [agent["observation"] for step in record["steps"][:1] for agent in step["agents"]]
        digest = hashlib.blake2b(json.dumps(read).encode(), digest_size=8).digest()
        sides[int.from_bytes(digest, "big") < share * 2**64].append(record)
    return sides


def check_successful(records: Sequence[Record], game: Game) -> None:
    """Refuse transcripts none of which is a success for an agent.

    Raises:
      InvalidArgumentError: the message says so.
    """
    check_successes(game.name, [_successes(record) for record in records])


def recorded_demonstrations(
    records: Sequence[Record],
    game: Game,
    *,
    prompt: AbstractPrompt,
    parser: AbstractParser,
    successful: bool = False,
    replies: Replies = "canonical",
) -> list[Demonstration]:
    """The replies of transcripts at every prompt that an agent met.

    Canonical replies are cloned unless literal ones are requested: the action text in a recorded reply is written in
    the parser's own way, since the episodes may come from a model with another format. Replies with the same meaning
    are then one reply. Invalid replies, and those that the parser cannot read, are left out.

    Args:
      records: as ``read_episodes`` gives them.
      game: tells the rules.
      prompt: F, the prompts of the policy that is fitted.
      parser: W, which reads the recorded replies.
      successful: whether an agent's decisions count only where the episode was a success for it (rejection sampling).
      replies: canonical or literal.
    """
    decisions = (
        decision
        for record in records
        for decision in _decisions(record, game, parser, successful, replies)
    )
    return merged(decisions, prompt=prompt, parser=parser)


def _decisions(
    record: Record, game: Game, parser: AbstractParser, successful: bool, replies: Replies
) -> Iterator[Decision]:
    turns: dict[str, list[Turn]] = {agent: [] for agent in game.agents}
    won = _successes(record)
    for step in record["steps"]:
        for told in step["agents"]:
            agent, kind = told["agent"], _KINDS[told["outcome"]]
            observation = Observation(text=told["observation"], feedback=told["feedback"])
            reply = _reply(told["reply"], parser, replies) if kind is OutcomeKind.PARSED else None
            history = History(
                agent=agent,
                rules=game.rules_text(agent),
                turns=tuple(turns[agent]),
                observation=observation,
            )
            is_cloned = won.get(agent) is True or not successful
            yield Decision(
                history=history, replies={reply: 1.0} if is_cloned and reply is not None else {}
            )
            said = told["reply"] if reply is None else reply
            turns[agent].append(Turn(observation=observation, reply=said, kind=kind))


def _reply(text: str, parser: AbstractParser, replies: Replies) -> str | None:
    """The reply that is cloned for a recorded one; ``None`` if the parser cannot read it."""
    read = parser.parse(text)
    if not isinstance(read, ActionText):
        return None
    return text if replies == "literal" else parser.wrap(read.text.strip())


def _successes(record: Record) -> Mapping[str, bool | None]:
    found = record.get("successes")
    return found if isinstance(found, Mapping) else {}

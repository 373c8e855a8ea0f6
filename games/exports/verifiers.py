"""Games as environments of verifiers (``verifiers.v1``): a taskset, whose tasks are seeds, and an environment."""

import functools
import importlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from games.exports.conversation import Conversation, opening
from games.exports.gymnasium import Opponent
from tsmg import AnyGame, MissingPackageError

REPLY_FORM = (
    "Think as long as you like, and end your reply with your action between tags, "
    "like this: <action>...</action>"
)
_TAGGED = re.compile(r"<action>((?:(?!<action>).)*?)</action>", re.DOTALL)


def last_action(reply: str) -> str:
    """The text of the last action between tags, without an opening tag in it; the whole reply if there is none.

    Example:
      >>> last_action("I go <action>left</action>, no: <action> up </action>"), last_action(" up")
      ('up', 'up')
      >>> last_action("I must answer with <action> tags: <action>up</action>")
      'up'
    """
    *_, action = [reply, *_TAGGED.findall(reply)]
    return str(action).strip()


def to_verifiers(
    game: AnyGame,
    agent: str | None = None,
    opponents: Opponent | Mapping[str, Opponent] | None = None,
    *,
    system_prompt: str = REPLY_FORM,
    read_reply: Callable[[str], str] = last_action,
) -> tuple[type, type]:
    """The taskset and the environment of a game, for the ``__all__`` of a module that verifiers finds by its name.

    Task n is the episode of seed n, so that its rollouts share the start and all chance. The reward is the episode's
    return, penalties included.

    Args:
      game: the game; it needs a horizon or a declared longest game.
      agent: name of the agent that learns; may be left out if there is only one.
      opponents: the policy or scripted player of all other agents, or one per agent.
      system_prompt: how to reply.
      read_reply: function from a reply to the text of its action; what names no legal action meets the invalid rule.

    Raises:
      MissingPackageError: verifiers is not installed.
      InvalidArgumentError: the agent or an opponent is missing or unknown.
    """
    try:
        library = importlib.import_module("verifiers.v1")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "to_verifiers needs verifiers, an optional package: pip install verifiers"
        ) from error

    def converse() -> Conversation:
        return Conversation(game, agent, opponents)

    converse()  # refused here, not within a rollout
    taskset, env = _bases(library)
    shared = {"converse": staticmethod(converse), "__module__": __name__}
    own = {"game_name": game.name, "system_text": system_prompt, **shared}
    return (
        type("Taskset", (taskset,), own),
        type("Env", (env,), {"read_reply": staticmethod(read_reply), **shared}),
    )


@functools.cache
def _bases(vf: Any) -> tuple[type, type]:
    """The taskset and the environment of any game, as classes of the library's."""

    class GameData(vf.TaskData):  # type: ignore[misc]
        seed: int

    class GameTask(vf.Task[GameData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
        pass

    class GameTaskset(vf.Taskset[GameTask, vf.TasksetConfig]):  # type: ignore[misc]
        INFINITE = True

        def load(self) -> Iterator[Any]:
            talk = self.converse()
            for seed in itertools.count():
                data = GameData(
                    name=f"{self.game_name}, seed {seed}",
                    prompt=opening(talk.rules, talk.begin(seed)),
                    system_prompt=self.system_text,
                    seed=seed,
                )
                yield GameTask(data, self.config.task)

    class GameConfig(vf.EnvConfig):  # type: ignore[misc]
        player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"})  # chat, without a shell

    class GameEnv(vf.Env[GameConfig]):  # type: ignore[misc]
        async def run(self, task: Any, agents: Any) -> None:
            await _play(self.converse(), self.read_reply, task, agents.player)

    return GameTaskset, GameEnv


async def _play(
    talk: Conversation, read_reply: Callable[[str], str], task: Any, player: Any
) -> None:
    """Play the episode of a task, and record its return, its length and its invalid texts.

    Args:
      talk: the conversation of the agent with the game.
      read_reply: function from a reply to the text of its action.
      task: whose data has the seed, and as its prompt what the agent reads first.
      player: the library's agent, to which the game speaks as the user.
    """
    talk.begin(task.data.seed)
    async with player.interaction(task) as interaction:
        segment = await interaction.turn()
        while not segment.terminated:
            read = talk.say(read_reply(segment.last_reply))
            if talk.is_over:
                break
            segment = await interaction.turn(read)
    interaction.trace.record_reward("episode_return", talk.episode_return, 1.0)
    interaction.trace.record_metric("texts", float(talk.texts))
    interaction.trace.record_metric("invalid_texts", float(talk.invalid))

"""``tsmg play``: a person plays through the texts that models read and write."""

from collections.abc import Sequence

import click

import tsmg
from algorithms.analysis.printing import printable
from algorithms.cli.options import config_options, game_spec
from algorithms.training.game_spec import GameSpec


@click.command(short_help="Play a game yourself, as a model would.")
@config_options(GameSpec, only=["id", "arguments", "horizon"])
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the episode.")
def play(game_id: str, settings: tuple[str, ...], horizon: int | None, seed: int) -> None:
    """Play a game yourself, through the same text interface as a model."""
    game = game_spec(game_id, settings, horizon).build()
    key = tsmg.EpisodeKey(seed=seed)
    (record,) = tsmg.play(game, Person(), [tsmg.EpisodeSpec(key=key)])
    if isinstance(record, tsmg.FailedEpisode):
        raise click.ClickException(printable(record.error))
    for agent in record.agents:
        click.echo(printable(record.final_observations[agent]))
        reward = record.episode_return(agent, penalties=False)
        fined = record.episode_return(agent) - reward
        fine = f", penalties {fined:g} for {record.invalid_count(agent)} invalid" if fined else ""
        click.echo(f"{agent}: {record.ending.value}, return {reward:g}{fine}")


class Person:
    """A person at the terminal, as a policy."""

    def __init__(self) -> None:
        self._has_rules: set[str] = set()

    def reply(self, requests: Sequence[tsmg.Request]) -> list[tsmg.Reply]:
        """One reply per request, typed at the terminal."""
        return [self._reply(request.history) for request in requests]

    def _reply(self, history: tsmg.History) -> tsmg.Reply:
        if history.agent not in self._has_rules:
            self._has_rules.add(history.agent)
            click.echo(printable(history.rules) + "\n")
        click.echo(printable(history.observation.text))
        if history.turns and history.turns[-1].kind is not tsmg.OutcomeKind.PARSED:
            click.echo(f"(your last text named no legal action: {history.turns[-1].kind.value})")
        text = click.prompt(history.agent, prompt_suffix="> ")
        return tsmg.Reply(text=text, parser_outcome=tsmg.ActionText(text))

"""A page for each registered game: its docstring under fixed headings, its spec, and an example made by playing it."""

import inspect
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import attrs

import games
import proofs
import tsmg
from algorithms.play.optimum import optimal_return
from games import connect_four
from games.connect_four import ConnectFour
from games.dialogue import AbstractDialogue
from games.dialogue.twenty_questions import TwentyQuestions, best_total
from games.dialogue.village import village_chance
from games.dialogue.werewolf import Werewolf
from games.kuhn_poker import VALUE, KuhnEquilibrium, KuhnPoker
from games.lights_out import LightsOut, least_solution
from games.matrix import MatrixGame, equilibria
from games.nim import Nim, wins
from games.snake import Snake
from games.tic_tac_toe import TicTacToe, value

Game = tsmg.AbstractGame[Any, Any]

FOLDER = "reference/games"
HEADINGS = (
    "Agents",
    "States",
    "Actions",
    "Observation text",
    "Action text",
    "Rewards",
    "Invalid rule",
    "Metrics",
    "Horizon",
    "Exact values",
    "Transcript",
    "Version history",
)
_NOTHING = {
    "Metrics": "Return, and success where it is defined.",
    "Exact values": "None are known.",
}
_LINE = re.compile(rf"({'|'.join(HEADINGS)}): (.*)")
STEPS = 5  # of the transcript, at most
LISTED = 20  # legal actions, at most
TREE = 20_000  # nodes, at most, for an exact value of uniform play
STARTS = 64  # initial states, at most, for an exact optimum


def shipped() -> list[tsmg.RegisteredGame]:
    """The registered games that come with the library."""
    return [spec for spec in games.registered() if spec.build.__module__.startswith("games.")]


def page_of(id: str) -> str:
    """The page of a game."""
    return f"{FOLDER}/{id}.md"


def sections(docstring: str) -> dict[str, str]:
    """The lines ``Heading: text`` of a docstring; a text may go on over further lines."""
    texts: dict[str, str] = {}
    heading = ""
    for line in docstring.split("\n\n")[1].splitlines() if "\n\n" in docstring else ():
        match = _LINE.match(line.strip())
        if match:
            heading, texts[match[1]] = match[1], match[2]
        elif heading:
            texts[heading] += f" {line.strip()}"
    return texts


def attributes(docstring: str) -> dict[str, str]:
    """The arguments that a docstring describes."""
    _, _, block = docstring.partition("Attributes:\n")
    texts_of: dict[str, str] = {}
    name = ""
    for line in block.partition("\n\n")[0].splitlines():
        names, colon, text = line.strip().partition(": ")
        if colon and re.fullmatch(r"[\w, ]+", names) and line.startswith("  ") and line[2] != " ":
            name, texts_of[names] = names, text
        elif name:
            texts_of[name] += f" {line.strip()}"
    return texts_of


def game_pages() -> dict[str, str]:
    """Path to text, for every game, and the list of them."""
    pages = {page_of(spec.id): "\n".join(page_lines(spec)) + "\n" for spec in shipped()}
    pages[f"{FOLDER}/index.md"] = "\n".join(index_lines()) + "\n"
    return pages


def index_lines() -> Iterator[str]:
    """The lines of the list of games."""
    yield from ("# Games that come with the library", "")
    yield "Made with `games.make(id)`. [Define a game](../../tutorials/define_a_game.md) explains how to add one."
    yield from ("", "| id | what it is | agents | horizon |", "|---|---|---|---|")
    for spec in shipped():
        game = games.make(spec.id)
        agents = ", ".join(f"`{agent}`" for agent in game.agents)
        row = (f"[{spec.id}]({spec.id}.md)", spec.summary, agents, f"{tsmg.step_limit(game)}")
        yield f"| {' | '.join(row)} |"


def page_lines(spec: tsmg.RegisteredGame, *, exact: bool = True) -> Iterator[str]:
    """The lines of a game's page; without exact values, which may take a second, if so asked."""
    game = games.make(spec.id)
    docstring = docstring_of(spec)
    texts = sections(docstring)
    player, record = _played(game)
    own = {
        "Agents": _agents(game),
        "Observation text": _observations(record),
        "Action text": _actions(game, record),
        "Rewards": _facts(game),
        "Invalid rule": [f"`{game.invalid_rule!r}`"],
        "Horizon": [f"{tsmg.step_limit(game)} steps here; discount {game.discount:g}."],
        "Exact values": list(_exact(game, record)) if exact else [],
        "Transcript": list(_transcript(player, record)),
        "Version history": _history(spec.id),
    }
    yield from ("---", "orphan: true", "---", "")  # the list of games has it, the contents do not
    yield from (f"# {spec.id}", "", spec.summary, "", *_built(spec), "")
    for heading in HEADINGS:
        yield from (f"## {heading}", "")
        if heading in texts:
            yield from (f"{texts[heading][:1].upper()}{texts[heading][1:]}", "")
        if heading in _NOTHING and not own.get(heading) and heading not in texts:
            yield _NOTHING[heading]
        yield from (*own.get(heading, ()), "")
    yield from _settings(docstring)


def _played(game: Game) -> tuple[str, tsmg.Episode[Any]]:
    """The name of a player and an episode of it: a uniform one, or the game's own where actions are not listed."""
    own = game.scripted_player() if isinstance(game, AbstractDialogue) else None
    player = own or tsmg.UniformPlayer(game)
    spec = tsmg.EpisodeSpec[Any](key=tsmg.EpisodeKey(seed=0))
    (record,) = tsmg.play(game, tsmg.PlayerPolicy(game, player), [spec])
    if not isinstance(record, tsmg.Episode):
        raise tsmg.GameLawError(f"{game.name}: {record.error}")
    return f"tsmg.{type(player).__name__}" if own is None else _path_of(type(player)), record


def _path_of(thing: type) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def docstring_of(spec: tsmg.RegisteredGame) -> str:
    """The docstring of what builds the game, without indentation."""
    return inspect.getdoc(spec.build) or ""


def _built(spec: tsmg.RegisteredGame) -> Iterator[str]:
    where = f"{spec.build.__module__}.{spec.build.__qualname__}"
    fixed = ", ".join(f"{name}={value!r}" for name, value in spec.kwargs.items())
    yield f"`games.make({spec.id!r})` builds a `{where}`" + (", with" if fixed else ".")
    if fixed:
        yield from ("", "```python", fixed, "```")
    yield from ("", "```sh", f"tsmg play --game {spec.id}", "```")


def _agents(game: Game) -> list[str]:
    lines = ["A player that joins reads:", ""]
    texts = {agent: game.rules_text(agent) for agent in game.agents}
    for text in dict.fromkeys(texts.values()):
        readers = [agent for agent in game.agents if texts[agent] == text]
        if len(set(texts.values())) > 1:
            lines += [f"{', '.join(f'`{reader}`' for reader in readers)}:", ""]
        lines += _block(text)
    return lines


def _block(text: str) -> list[str]:
    return ["```text", *text.split("\n"), "```", ""]


def _observations(record: tsmg.Episode[Any]) -> list[str]:
    first = record.steps[0].agent_steps[0]
    return [
        f"What `{first.agent}` reads first in the transcript:",
        "",
        *_block(first.observation.text),
    ]


def _actions(game: Game, record: tsmg.Episode[Any]) -> list[str]:
    step = record.steps[0]
    agent = step.agent_steps[0].agent
    state = step.state.state
    legal = game.legal_actions(state, agent)
    if legal is None:
        return [
            f"The game lists no actions. The first one in the transcript is `{step.agent_steps[0].reply.text}`."
        ]
    texts = [f"`{game.action_text(state, agent, action)}`" for action in legal]
    rest = f", ... {len(texts):,} in all" if len(texts) > LISTED else ""
    return [f"Legal actions at the start: {', '.join(texts[:LISTED])}{rest}."]


def _facts(game: Game) -> list[str]:
    declared = {
        field.name: getattr(game.facts, field.name) for field in attrs.fields(type(game.facts))
    }
    rows = [f"| `{name}` | {value} |" for name, value in declared.items() if value is not None]
    return (
        ["The game declares these facts:", "", "| fact | declared |", "|---|---|", *rows]
        if rows
        else []
    )


def _exact(game: Game, record: tsmg.Episode[Any]) -> Iterator[str]:
    yield from _known(game, record)
    if not isinstance(game, tsmg.AbstractExplicitGame):
        return
    yield from _optimum(game, record)
    if isinstance(game, AbstractDialogue):
        return  # what may be said is not listed
    uniform = tsmg.UniformPlayer(game)
    try:
        returns = proofs.expected_returns(game, dict.fromkeys(game.agents, uniform), limit=TREE)
    except tsmg.NotEnumerableError:
        return
    values = ", ".join(f"`{agent}` {value:.6g}" for agent, value in returns.items())
    yield f"- Expected return of uniform play: {values} (`proofs.expected_returns`)."


def _optimum(game: tsmg.AbstractExplicitGame[Any, Any], record: tsmg.Episode[Any]) -> Iterator[str]:
    """The best expected return over all starts, or from the start of the transcript."""
    steps = tsmg.step_limit(game)
    start = record.start.state.state
    if isinstance(game, Snake | LightsOut) or optimal_return(game, start, steps) is None:
        return  # boards of Snake and Lights Out are too many, and counting them takes long
    law = _small_law(game)
    if law is None:
        best = optimal_return(game, start, steps)
        yield f"- Best expected return from the start of the transcript: {best:.6g} (`optimal_return`)."
        return
    best = sum(p * (optimal_return(game, state, steps) or 0.0) for state, p in law)
    yield f"- Best expected return: {best:.6g} (`optimal_return`)."


def _small_law(game: tsmg.AbstractExplicitGame[Any, Any]) -> list[tuple[Any, float]] | None:
    try:
        law = game.initial_state_dist().pmf(STARTS)
    except tsmg.NotEnumerableError:
        return None
    return [(state, float(p)) for state, p in law.items()]


def _known(game: Game, record: tsmg.Episode[Any]) -> Iterator[str]:
    """Answers that a game's own module knows."""
    if isinstance(game, KuhnPoker):
        yield f"- Value for `first` when both play best: {VALUE} (`games.kuhn_poker.VALUE`)."
        players = dict.fromkeys(game.agents, KuhnEquilibrium())
        conv = proofs.nash_conv(game, players)
        gain = "0" if abs(conv) < 1e-12 else f"{conv:.3g}"
        yield f"- NashConv of `games.kuhn_poker.KuhnEquilibrium`: {gain} (`proofs.nash_conv`)."
    if isinstance(game, TicTacToe):
        (state,) = (state for state, _ in game.initial_state_dist().enumerate())
        yield f"- Value for `x` when both play best: {value(state)} (`games.tic_tac_toe.value`)."
    if isinstance(game, Nim):
        first = 1 if wins(game.heaps, misere=game.misere) else -1
        yield f"- Value for `first` when both play best: {first} (`games.nim.wins`)."
    if isinstance(game, ConnectFour) and game.line == 3:
        best = connect_four.value(game.shape, ("",) * game.columns)
        yield f"- Value for `x` when both play best: {best} (`games.connect_four.value`)."
    if isinstance(game, LightsOut):
        least = least_solution(game.size, record.start.state.state) or 0
        presses = f"{least.bit_count()} (`games.lights_out.least_solution`)"
        yield f"- Least presses from the start of the transcript: {presses}."
    if isinstance(game, TwentyQuestions):
        things, cost = game.table.things, Fraction(str(game.cost))
        total, _ = best_total(game.table, things, game.turns, cost)
        best = float(total / len(things))
        yield f"- Best expected return: {best:.6g} (`games.dialogue.twenty_questions.best_total`)."
    if isinstance(game, Werewolf):
        chance = village_chance(game.wolves, game.players - game.wolves, game.days)
        yield f"- Chance of the village where all play at random: {chance} (`games.dialogue.village.village_chance`)."
    if isinstance(game, MatrixGame):
        for row, column in equilibria(game):
            laws = (
                ", ".join(f"{name} {p}" for name, p in zip(names, law, strict=True))
                for names, law in ((game.row_actions, row), (game.column_actions, column))
            )
            yield "- Equilibrium of one round: `row` plays {}; `column` plays {} (`games.matrix.equilibria`).".format(
                *laws
            )


def _transcript(player: str, record: tsmg.Episode[Any]) -> Iterator[str]:
    yield from (
        f"One episode of `{player}`, played by `tsmg.play` with seed {record.key.seed}.",
        "",
        "```text",
    )
    for step in record.steps[:STEPS]:
        for own in step.agent_steps:
            yield f"step {step.t}, {own.agent} reads:"
            yield from (f"    {line}".rstrip() for line in own.observation.text.split("\n"))
            yield f"  and says: {own.reply.text}"
        yield f"  rewards: {_numbers(record, step.rewards_N)}"
    left = len(record.steps) - STEPS
    if left > 0:
        yield f"... {left} more step{'s' if left > 1 else ''}"
    yield f"{record.ending.value} after {len(record.steps)} step{'s' if len(record.steps) > 1 else ''}"
    for agent in record.agents:
        yield f"{agent} reads at the end:"
        yield from (f"    {line}".rstrip() for line in record.final_observations[agent].split("\n"))
    returns = [record.episode_return(agent) for agent in record.agents]
    yield from (f"returns: {_numbers(record, tuple(returns))}", "```")


def _history(id: str) -> list[str]:
    """The versions of a game that are registered; its docstring may add a line on what changed."""
    name = id.rpartition("-v")[0]
    versions = [spec.id for spec in shipped() if spec.id.rpartition("-v")[0] == name]
    if versions == [id]:
        return [f"`{id}` is the only version so far."]
    return [f"Versions: {', '.join(f'[{version}]({version}.md)' for version in versions)}."]


def _numbers(record: tsmg.Episode[Any], values: tuple[float, ...]) -> str:
    return ", ".join(f"{a} {v:g}" for a, v in zip(record.agents, values, strict=True))


def _settings(docstring: str) -> Iterator[str]:
    settings = attributes(docstring)
    if not settings:
        return
    yield from ("## Arguments", "", "| argument | meaning |", "|---|---|")
    for names, text in settings.items():
        shown = ", ".join(f"`{name}`" for name in names.split(", "))
        yield f"| {shown} | {text.replace('|', chr(92) + '|')} |"

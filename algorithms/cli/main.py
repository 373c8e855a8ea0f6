"""The command line: ``tsmg train``, ``evaluate``, ``play``, ``check``, ``games``.

Bad arguments end in one sentence and exit code 2 before anything slow starts.
"""

import contextlib
import functools
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

import games as games_package
import tsmg
from algorithms.analysis.printing import printable
from algorithms.cli.options import (
    config_options,
    game_arguments,
    game_options,
    literal,
    make_game,
    set_option,
    split_game,
)
from algorithms.errors import RunStoppedError
from algorithms.method.config import MSGRPOConfig
from algorithms.training.config import RunConfig

if TYPE_CHECKING:
    from algorithms.play.evaluation import Evaluation
    from algorithms.training.metrics import Update
    from algorithms.training.run import Result
    from tsmg.testing import Report

console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)  # of several processes one speaks
COMMANDS = "tsmg.commands"
_THOUGHT = "</think>"
_ENDPOINT_TOKENS = 256  # replies of models that think before they act


class _Group(click.Group):
    """Turns the library's errors into one sentence and exit code 2; finds further commands by name when asked.

    A package adds a command by an entry point of the group ``tsmg.commands``.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *metadata.entry_points(group=COMMANDS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = metadata.entry_points(group=COMMANDS, name=cmd_name)
        return next(iter(found)).load() if found else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except tsmg.TSMGError as error:
            told = " ".join(
                (str(error), *(f"({note})" for note in getattr(error, "__notes__", ())))
            )
            raise click.UsageError(printable(told)) from error
        except click.UsageError as error:
            raise click.UsageError(printable(error.format_message()), error.ctx) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tsmg")
def main() -> None:
    """Post-train language models to act over many steps, in text-mediated stochastic games."""


def _model_options(command: Any) -> Any:
    decorators = (
        click.option(
            "--model",
            default=None,
            help="Checkpoint: a name or a local folder; to evaluate, also an OpenAI-compatible endpoint as URL#model. "
            "Unset: a small behaviour-cloned model of the game.",
        ),
        click.option(
            "--chat/--no-chat",
            default=None,
            help="Whether prompts go through the tokenizer's chat template. Unset: if there is one.",
        ),
        click.option(
            "--thinking/--no-thinking",
            default=None,
            help="Whether the chat template is told to let the model think aloud; the action is then what "
            f"follows {_THOUGHT}. Unset: the template is told nothing.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(("float32", "bfloat16", "mixed")),
            default="float32",
            show_default=True,
            help="Type of a checkpoint's weights; mixed: float32, computed with in bfloat16.",
        ),
        click.option(
            "--history",
            type=int,
            default=0,
            show_default=True,
            help="How many past turns the prompt shows; 0 is memoryless.",
        ),
        click.option("--threads", type=int, default=2, show_default=True, help="CPU threads."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _casting_options(command: Any) -> Any:
    decorators = (
        click.option(
            "--opponent",
            default="self",
            show_default=True,
            help="Who plays beside an agent that learns: self (all agents learn), past (earlier copies), "
            "scripted (the game's own player), uniform, the folder of a saved policy, or an endpoint as URL#model.",
        ),
        click.option(
            "--role",
            default=None,
            help="The agent that learns against an opponent; each in turn if unset.",
        ),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _check_casting(game: tsmg.AbstractGame[Any, Any], opponent: str, role: str | None) -> None:
    """What can be said about opponent and role before anything is loaded."""
    if opponent == "self":
        if role is not None:
            raise click.UsageError("--role needs an --opponent other than self")
        return
    if len(game.agents) == 1:
        raise click.UsageError(f"--opponent needs a game of several agents ({game.name} has one)")
    if role is not None and role not in game.agents:
        raise click.UsageError(f"--role must be one of {', '.join(game.agents)} (got {role!r})")
    if opponent == "scripted" and game.scripted_player() is None:
        raise click.UsageError(f"{game.name} has no scripted player; try --opponent uniform")
    if _is_endpoint(opponent):
        _check_endpoint(opponent)
    elif opponent not in ("past", "scripted", "uniform"):
        if not Path(opponent).is_dir():  # before torch is imported
            raise click.UsageError(f"no saved policy at {opponent!r} (there is no such folder)")
        from lap.policy import POLICY_FILE

        if not (Path(opponent) / POLICY_FILE).is_file():
            raise click.UsageError(f"no saved policy at {opponent!r} (there is no {POLICY_FILE})")


def _make_casting(
    game: tsmg.AbstractGame[Any, Any], policy: Any, opponent: str, role: str | None
) -> Any:
    """Who plays whom."""
    from algorithms.play.matchups import AlternatingRoles, FixedOpponents, SelfPlay
    from algorithms.training.past_opponents import PastOpponents

    if opponent == "self":
        return SelfPlay()
    other: tsmg.AgentPolicy
    if opponent == "past":
        other = PastOpponents(policy)
    elif opponent in ("scripted", "uniform"):
        scripted = game.scripted_player() if opponent == "scripted" else None
        other = tsmg.PlayerPolicy(game, scripted or tsmg.UniformPlayer(game))
    elif _is_endpoint(opponent):
        other = _endpoint_policy(opponent)
    else:
        import lap

        other = lap.LanguageAgentPolicy.from_pretrained(opponent)
    if role is None:
        return AlternatingRoles(other)
    return FixedOpponents({agent: other for agent in game.agents if agent != role})


def _constrained(game: tsmg.AbstractGame[Any, Any], policy: Any) -> Any:
    """The policy that can only say legal actions."""
    import lap

    return lap.ConstrainedPolicy(game=game, policy=policy)


def _is_endpoint(name: str | None) -> bool:
    return name is not None and name.startswith(("http://", "https://"))


def _check_endpoint(name: str) -> None:
    if not name.partition("#")[2]:
        raise click.UsageError(f"an endpoint is given as URL#model (got {name!r})")


def _endpoint_policy(name: str, **parts: Any) -> Any:
    """The policy of the model that URL#model names."""
    import lap

    url, _, model = name.partition("#")
    sampling = lap.Sampling(max_reply_tokens=_ENDPOINT_TOKENS)
    return lap.LanguageAgentPolicy(model=lap.EndpointModel(url, model), sampling=sampling, **parts)


def _check_model(
    model: str | None, chat: bool | None, thinking: bool | None, *, trains: bool = False
) -> None:
    """What can be said about a model's name without loading it."""
    if model is not None and _is_endpoint(model):
        if trains:
            raise click.UsageError("an endpoint cannot be trained; name a checkpoint with --model")
        if chat is not None:
            raise click.UsageError("an endpoint has a chat template of its own; leave --chat out")
        _check_endpoint(model)
        return
    if model is None:
        if chat or thinking:
            raise click.UsageError(
                "a behaviour-cloned model has no chat template; name one with --model"
            )
        return
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).exists()
    files = ("config.json", "adapter_config.json")
    if is_path and not any((Path(model) / file).is_file() for file in files):
        raise click.UsageError(f"no checkpoint at {model!r} (there is no config.json)")


def _make_policy(
    game: tsmg.AbstractGame[Any, Any],
    *,
    model: str | None,
    chat: bool | None,
    thinking: bool | None,
    dtype: str,
    history: int,
    recipe_seed: int,
    threads: int,
) -> Any:
    """The policy of a saved folder, of a checkpoint, or of the game's behaviour-cloned model."""
    import torch

    import lap
    from algorithms.training.cloning import cloned_model
    from algorithms.training.config import CloningConfig
    from lap.policy import POLICY_FILE

    torch.set_num_threads(threads)
    loading: dict[str, Any] = {
        "dtype": torch.bfloat16 if dtype == "bfloat16" else torch.float32,
        "autocast": torch.bfloat16 if dtype == "mixed" else None,
    }
    if model is not None and (Path(model) / POLICY_FILE).is_file():
        return lap.LanguageAgentPolicy.from_pretrained(model, **loading)
    with_rules = model is not None
    prompt = (
        lap.LastTurnsPrompt(turns=history, with_rules=with_rules)
        if history
        else lap.MemorylessPrompt(with_rules=with_rules)
    )
    parser = lap.TagParser(after=_THOUGHT if thinking else "")
    if model is not None and _is_endpoint(model):
        return _endpoint_policy(model, prompt=prompt, parser=parser)
    if model is not None:
        checkpoint = lap.TransformersModel.from_pretrained(
            model, chat=chat, thinking=thinking, **loading
        )
        return lap.LanguageAgentPolicy(prompt=prompt, parser=parser, model=checkpoint)
    with console.status("making the behaviour-cloned model (first use)") as status:

        def report(stage: str, done: int, total: int) -> None:
            status.update(f"{stage}: {done}/{total}")

        cloning = CloningConfig(seed=recipe_seed)
        seed = cloned_model(game, prompt=prompt, config=cloning, report=report)
    return lap.LanguageAgentPolicy(prompt=prompt, model=seed)


@main.command()
@game_options
@_model_options
@_casting_options
@click.option(
    "--lora",
    default=None,
    metavar="r=16,alpha=32,targets=NAME+NAME",
    help="Learn low-rank adapters alone, of this rank; twice the rank and all linear layers where unset.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Keep few activations while learning, and compute them again (gradient checkpointing).",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the model's layers.")
@click.option("--output", type=click.Path(), default=None, help="Run folder; runs/<time> if unset.")
@click.option(
    "--resume",
    type=click.Path(),
    default=None,
    help="Go on with the run in this folder, from its newest whole checkpoint; its settings hold.",
)
@click.option(
    "--tracker",
    type=click.Choice(("none", "tensorboard", "wandb", "trackio")),
    default="none",
    show_default=True,
    help="Also log to a tracker through accelerate.",
)
@config_options(MSGRPOConfig)
@config_options(RunConfig)
@click.pass_context
def train(
    context: click.Context, /, output: str | None, resume: str | None, **options: Any
) -> None:
    """Post-train a policy on a game with MS-GRPO."""
    if resume is None:
        folder = Path(output or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
        if (folder / "config.json").exists():
            raise click.UsageError(f"{str(folder)!r} already holds a run; choose another --output")
    else:
        folder = Path(resume)
        options = {**options, **_recorded_options(context, folder)}
        if output is not None and Path(output) != folder:
            raise click.UsageError("--resume goes on in the run's own folder; leave --output out")
    try:
        _train(folder, resume is not None, options=options, **options)
    except RunStoppedError as stopped:
        click.echo(str(stopped), err=True)
        sys.exit(128 + stopped.signal if stopped.signal else 1)


def _recorded_options(context: click.Context, folder: Path) -> dict[str, Any]:
    """The options that a run was begun with; those given now must be the same."""
    from algorithms.runs.writer import read_config

    recorded: Any = read_config(folder).get("command")
    if not isinstance(recorded, dict):
        raise click.UsageError(f"{str(folder)!r} does not say by which options it was begun")
    given = {name for name in context.params if _is_given(context, name)}
    for name in given & recorded.keys():
        value = context.params[name]
        asked = list(value) if isinstance(value, tuple) else value  # as JSON has it
        if asked != recorded[name]:
            raise click.UsageError(
                f"a resumed run keeps its settings: {name!r} is {recorded[name]!r} in {str(folder)!r} "
                f"(got {asked!r})"
            )
    if ":" in str(recorded.get("game_id")) and "game_id" not in given:
        raise click.UsageError(
            f"the game of {str(folder)!r} is code: if you trust it, add --game {recorded['game_id']}"
        )
    try:
        return {
            parameter.name: parameter.type_cast_value(context, recorded[parameter.name])
            for parameter in context.command.params
            if parameter.name in recorded
        }
    except (AttributeError, ArithmeticError, TypeError, ValueError) as error:
        raise click.UsageError(
            f"{str(folder)!r} was begun with no such options: {error}"
        ) from error


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _train(
    folder: Path,
    resume: bool,
    *,
    options: dict[str, Any],
    game_id: str,
    settings: Sequence[str],
    horizon: int | None,
    held_out: float,
    model: str | None,
    chat: bool | None,
    thinking: bool | None,
    dtype: str,
    history: int,
    threads: int,
    opponent: str,
    role: str | None,
    lora: str | None,
    recompute: bool,
    compiled: bool,
    tracker: str,
    **configured: Any,
) -> None:
    config = MSGRPOConfig(**{f.name: configured[f.name] for f in attrs.fields(MSGRPOConfig)})
    run = RunConfig(**{f.name: configured[f.name] for f in attrs.fields(RunConfig)})
    game = make_game(game_id, settings, horizon)
    training_game, evaluation_game = split_game(game, held_out)
    _check_casting(game, opponent, role)
    adapters = None if lora is None else _lora_settings(lora)
    start = _saved_start(folder) if resume else None
    if start is None:
        _check_model(model, chat, thinking, trains=True)
    from algorithms.distributed.processes import make_accelerator
    from algorithms.training.learner import reply_sampling
    from algorithms.training.run import (
        run_training,  # slow to import: after every argument was checked
    )

    with make_accelerator().local_main_process_first():  # what it makes or fetches, the others find
        policy = _make_policy(
            training_game,
            model=start or model,
            chat=chat,
            thinking=thinking,
            dtype=dtype,
            history=history,
            recipe_seed=config.seed,
            threads=threads,
        ).with_sampling(reply_sampling(config))
    if adapters is not None and start is None:  # a saved start has its adapters
        policy = attrs.evolve(policy, model=policy.model.with_lora(adapters, seed=config.seed))
    policy = _prepared(policy, recompute=recompute, compiled=compiled)
    described = {
        "title": f"{game_id}, {Path(model).name if model else 'behaviour-cloned model'}",
        "game": game_id,
        "game_settings": {name: repr(literal(value)) for name, _, value in map(_cut, settings)},
        "horizon": tsmg.step_limit(game),
        "held_out": held_out if training_game is not game else 0,
        "model": model or "behaviour-cloned model",
        "dtype": dtype,
        "lora": lora,
        "prompt": repr(policy.prompt),
        "parser": repr(policy.parser),
        "opponent": opponent,
        "role": role,
        "threads": threads,
        "command": options,
    }
    with _Bar(config.updates) as bar:
        result = run_training(
            game=training_game,
            evaluation_game=evaluation_game,
            policy=policy,
            config=config,
            run=run,
            folder=folder,
            described=described,
            reporter=bar,
            track=_tracker(tracker, folder, described),
            matchups=_make_casting(game, policy, opponent, role),
            resume=resume,
        )
    _print_result(result)


def _lora_settings(text: str) -> Any:
    from lap.lora import LoraSettings

    return LoraSettings.parse(text)


def _prepared(policy: Any, *, recompute: bool, compiled: bool) -> Any:
    """The policy as it is to be learnt."""
    model = policy.model.with_recomputation() if recompute else policy.model
    model = model.compiled() if compiled else model
    return attrs.evolve(policy, model=model)


def _saved_start(folder: Path) -> str | None:
    """The policy that a run began with, if it came so far as to save it."""
    from algorithms.runs.checkpoints import START, has_start

    return str(folder / START) if has_start(folder) else None


def _cut(setting: str) -> tuple[str, str, str]:
    return setting.partition("=")


def _tracker(name: str, folder: Path, described: dict[str, Any]) -> Any:
    if name == "none":
        return None
    from accelerate import Accelerator

    accelerator = Accelerator(log_with=name, project_dir=str(folder / "tracker"))
    # a resumed run is the same one to a tracker
    identity = uuid.uuid5(uuid.NAMESPACE_URL, str(folder.resolve())).hex
    kept = {"wandb": {"id": identity}, "trackio": {"name": identity}}.get(name, {})
    accelerator.init_trackers(
        "tsmg",
        config={k: str(v) for k, v in described.items()},
        init_kwargs={name: {**kept, "resume": "allow"}} if kept else {},
    )

    def track(metrics: Any, step: int) -> None:
        accelerator.log({k: v for k, v in metrics.items() if v is not None}, step=step)

    return track


class _Bar:
    """A live line: return, invalid rate, episodes per second, time left."""

    def __init__(self, updates: int) -> None:
        self.progress = Progress(
            TextColumn("update {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.updates = updates
        self.task: TaskID | None = None

    def __enter__(self) -> "_Bar":
        self.progress.start()
        self.task = self.progress.add_task("train", total=self.updates, line="evaluating")
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def update(self, update: "Update") -> None:
        m, seconds = update.metrics, sum(s or 0.0 for s in update.seconds.values())
        episodes = sum(len(group.episodes) for group in update.rollouts.groups)
        line = (
            f"return {m['reward']:.3f}  invalid {m['invalid_rate']:.3f}  "
            f"{episodes / seconds:.0f} episodes/s"
        )
        if self.task is None:
            return
        self.progress.update(self.task, completed=m["update"], line=line)

    def told(self, text: str) -> None:
        self.progress.print(escape(printable(text)))

    def evaluated(self, update: int, sampled: "Evaluation", greedy: "Evaluation") -> None:
        self.progress.print(
            f"update {update:>4}: {_brief('sampled', sampled)}; {_brief('greedy', greedy)}"
        )


def _brief(name: str, evaluation: "Evaluation") -> str:
    return (
        f"{name}: return {evaluation.reward:.3f}, success {evaluation.success_rate:.3f}, "
        f"invalid {evaluation.invalid_rate:.4f}"
    )


def _print_result(result: "Result") -> None:
    console.print(f"episodes evaluated: {len(result.sampled.returns)}, the same before and after")
    console.print(f"before  {_brief('sampled', result.start_sampled)}")
    console.print(f"        {_brief('greedy', result.start_greedy)}")
    console.print(f"after   {_brief('sampled', result.sampled)}")
    console.print(f"        {_brief('greedy', result.greedy)}")
    if result.ceiling is not None:
        console.print(f"exact optimum of the same starts: return {result.ceiling:.3f}")
    console.print(f"run folder: {escape(str(result.folder))} (curve.png shows the course)")


@main.command()
@game_options
@_model_options
@_casting_options
@click.option(
    "--episodes", type=click.IntRange(1), default=300, show_default=True, help="How many."
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=None,
    help="Sampling temperature; 0 is greedy. Unset: the policy's own.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the episodes.")
@click.option(
    "--constrained",
    is_flag=True,
    help="Only legal actions can be said: replies are decoded along the trie of their texts.",
)
def evaluate(
    game_id: str,
    settings: tuple[str, ...],
    horizon: int | None,
    held_out: float,
    model: str | None,
    chat: bool | None,
    thinking: bool | None,
    dtype: str,
    history: int,
    threads: int,
    opponent: str,
    role: str | None,
    episodes: int,
    temperature: float | None,
    seed: int,
    constrained: bool,
) -> None:
    """Evaluate a policy or checkpoint on fixed episodes, beside their exact optimum."""
    game = make_game(game_id, settings, horizon)
    training_game, evaluation_game = split_game(game, held_out)
    _check_model(model, chat, thinking)
    _check_casting(game, opponent, role)
    policy = _make_policy(
        training_game,
        model=model,
        chat=chat,
        thinking=thinking,
        dtype=dtype,
        history=history,
        recipe_seed=0,
        threads=threads,
    )
    if constrained and _is_endpoint(model):
        raise click.UsageError("an endpoint cannot be constrained: its tokens are not known")
    if temperature is not None:
        policy = policy.with_sampling(attrs.evolve(policy.sampling, temperature=temperature))
    from algorithms.play.evaluation import evaluate as evaluate_policy
    from algorithms.play.optimum import mean_optimal_return
    from algorithms.play.rollouts import fixed_starts

    specs = fixed_starts(evaluation_game, episodes, seed=seed)
    result = evaluate_policy(
        evaluation_game,
        _constrained(evaluation_game, policy) if constrained else policy,
        specs,
        matchups=_make_casting(game, policy, opponent, role),
    )
    console.print(
        f"{episodes} episodes, {_brief('temperature ' + str(policy.sampling.temperature), result)}"
    )
    ceiling = mean_optimal_return(evaluation_game, specs)
    if ceiling is not None:
        console.print(f"exact optimum of the same starts: return {ceiling:.3f}")


@main.command()
@game_options
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the episode.")
def play(
    game_id: str, settings: tuple[str, ...], horizon: int | None, held_out: float, seed: int
) -> None:
    """Play a game yourself, through the same text interface as a model."""
    game = make_game(game_id, settings, horizon)
    key = tsmg.EpisodeKey(seed=seed)
    (record,) = tsmg.play(game, _Person(), [tsmg.EpisodeSpec(key=key)])
    if isinstance(record, tsmg.FailedEpisode):
        raise click.ClickException(printable(record.error))
    for agent in record.agents:
        click.echo(printable(record.final_observations[agent]))
        reward = record.episode_return(agent, penalties=False)
        fined = record.episode_return(agent) - reward
        fine = f", penalties {fined:g} for {record.invalid_count(agent)} invalid" if fined else ""
        click.echo(f"{agent}: {record.ending.value}, return {reward:g}{fine}")


class _Person:
    """A person at the terminal as a policy."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def reply(self, requests: Sequence[tsmg.Request]) -> list[tsmg.Reply]:
        return [self._reply(request.history) for request in requests]

    def _reply(self, history: tsmg.History) -> tsmg.Reply:
        if history.agent not in self._told:
            self._told.add(history.agent)
            click.echo(printable(history.rules) + "\n")
        click.echo(printable(history.observation.text))
        if history.turns and history.turns[-1].kind is not tsmg.OutcomeKind.PARSED:
            click.echo(f"(your last text named no legal action: {history.turns[-1].kind.value})")
        text = click.prompt(history.agent, prompt_suffix="> ")
        return tsmg.Reply(text=text, parser_outcome=tsmg.ActionText(text))


@main.command()
@click.argument("game_id", metavar="GAME")
@set_option
@click.option(
    "--examples",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="How many pairs of walks to make.",
)
def check(game_id: str, settings: tuple[str, ...], examples: int) -> None:
    """Check a game, an id or module:callable, against the interface and what it declares.

    The exit code is 0 if no rule is broken, 1 if one is, 2 if the arguments are bad.
    """
    arguments = game_arguments(settings)
    keywords = "".join(f", {name}={value!r}" for name, value in arguments.items())
    from tsmg.testing import check_game

    with _scratch_folder():
        report = check_game(
            functools.partial(games_package.make, game_id, **arguments),
            max_examples=examples,
            source=f"import games\n\ngame = games.make({game_id!r}{keywords})",
        )
    _print_report(report)
    sys.exit(0 if report.is_conformant else 1)


@contextlib.contextmanager
def _scratch_folder() -> Iterator[None]:
    """Keeps Hypothesis from leaving a folder where the user stands: it keeps Unicode tables."""
    name = "HYPOTHESIS_STORAGE_DIRECTORY"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]


def _print_report(report: "Report") -> None:
    table = Table("rule", "what was seen", "result", box=None, pad_edge=False)
    colours = {"ok": "green", "broken": "bold red", "not seen": "yellow", "not declared": "dim"}
    for result in report.results:
        unit = result.unit.removesuffix("s") if result.count == 1 else result.unit
        seen = f"{result.count} {unit}" if result.count else ""
        status = result.status.value
        notes = escape("; ".join(filter(None, (seen, *result.notes))))
        table.add_row(result.rule, notes, f"[{colours[status]}]{status}[/]")
    console.print(table)
    for violation in report.violations:
        click.echo(f"\n{printable(str(violation))}")
    broken = len(report.violations)
    console.print(
        f"\n{escape(report.game)}: {report.walks} walks, {report.states} states, {report.whole} whole "
        f"episodes; {f'rules broken: {broken}' if broken else 'no rule is broken'}"
    )


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("output", type=click.Path())
def merge(folder: str, output: str) -> None:
    """Fold the adapters of a saved policy into its weights: FOLDER becomes an ordinary checkpoint in OUTPUT."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise click.UsageError(f"there are no adapters in {folder!r} (no adapter_config.json)")
    if Path(output).exists():
        raise click.UsageError(f"{output!r} is there already; choose another place")
    import lap

    policy = lap.LanguageAgentPolicy.from_pretrained(folder)
    if not isinstance(policy.model, lap.TransformersModel):
        raise lap.ModelError(f"{type(policy.model).__name__} has no adapters to merge")
    attrs.evolve(policy, model=policy.model.merged()).save_pretrained(output)
    console.print(f"written: {escape(output)}")


@main.command()
def games() -> None:
    """List the registered games."""
    for spec in tsmg.registered():
        click.echo(f"{spec.id:<24} {spec.summary}")


if __name__ == "__main__":
    main()

"""Pages of the command line and of the settings, from the parser and the configuration themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

import attrs
import click

from algorithms.cli.main import main
from algorithms.method.config import MSGRPOConfig
from algorithms.method.settings import choices
from algorithms.training.config import RunConfig

COMMANDS = "reference/command_line.md"
SETTINGS = "reference/settings.md"


def commands() -> dict[str, click.Command]:
    """All commands by name, those of entry points included."""
    context = click.Context(main, info_name="tsmg", **main.context_settings)
    by_name = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: command for name, command in by_name.items() if command is not None}


def command_pages() -> dict[str, str]:
    """The page of the command line, and that of the settings."""
    return {
        COMMANDS: "\n".join(_command_line()) + "\n",
        SETTINGS: "\n".join(_settings()) + "\n",
    }


def _command_line() -> Iterator[str]:
    yield from ("# The command line", "", _sentence(main), "")
    yield "Invalid arguments are answered by one sentence and exit code 2. `tsmg COMMAND --help` prints the same texts."
    for name, command in commands().items():
        yield from ("", f"## tsmg {name}", "")
        context = click.Context(command, info_name=f"tsmg {name}", **main.context_settings)
        yield _sentence(command)
        yield from (
            "",
            "```text",
            f"{command.get_usage(context).removeprefix('Usage: ')}",
            "```",
            "",
        )
        if name == "train":
            yield from (
                "The [settings](settings.md) of the algorithm and of the run are options, too.",
                "",
            )
        yield from _options(command, context, without=_setting_names() if name == "train" else ())


def _sentence(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _setting_names() -> tuple[str, ...]:
    return tuple(f.name for config in (MSGRPOConfig, RunConfig) for f in attrs.fields(config))


def _options(
    command: click.Command, context: click.Context, without: tuple[str, ...]
) -> Iterator[str]:
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in without]
    if not options:
        return
    yield from ("| option | meaning | value | default |", "|---|---|---|---|")
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        row = (names, option.help or "", _value(option, context), _default(option))
        yield f"| {' | '.join(cell(text) for text in row)} |"


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{c}`" for c in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange):
        least, most = option.type.min, option.type.max
        limits = [f"at least {least:g}"] if least is not None else []
        limits += [f"at most {most:g}"] if most is not None else []
        return f"`{option.type.name.split()[0].upper()}`, {', '.join(limits)}"
    return f"`{option.make_metavar(context)}`"


def _default(option: click.Option) -> str:
    default: Any = option.to_info_dict()["default"]
    if default is None or option.multiple or (option.is_flag and not option.secondary_opts):
        return ""
    if isinstance(default, bool):
        return f"`{(option.opts if default else option.secondary_opts)[0]}`"
    return f"`{default}`" if str(default) else ""


def _settings() -> Iterator[str]:
    yield from ("# Settings of a training run", "")
    yield (
        "Each setting is an option of `tsmg train` and a field of `algorithms.MSGRPOConfig` or `algorithms.RunConfig`. "
        "[Metrics](metrics.md) explains what an update records."
    )
    for title, config, how in (
        ("The algorithm", MSGRPOConfig, "algorithms.MSGRPOConfig"),
        ("The run", RunConfig, "algorithms.RunConfig"),
    ):
        yield from ("", f"## {title}", "", f"Fields of `{how}`.", "")
        yield from ("| field | meaning | option | value | default |", "|---|---|---|---|---|")
        for field in attrs.fields(config):
            yield _setting(config, field)


def _setting(config: type, field: "attrs.Attribute[Any]") -> str:
    flag = f"--{field.name.replace('_', '-')}"
    if isinstance(field.default, bool):
        flag = f"{flag}`, `--no-{flag.removeprefix('--')}"
    names = choices(config, field.name)
    value = ", ".join(f"`{n}`" for n in names) or type(field.default).__name__
    row = (f"`{field.name}`", field.metadata["help"], f"`{flag}`", value, f"`{field.default}`")
    return f"| {' | '.join(cell(text) for text in row)} |"


def cell(text: str) -> str:
    """A text within a table of Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")

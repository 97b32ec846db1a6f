"""The options of a command in a file: `--config` reads them, `--save-config` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.cli._options import add_options
from bench.core.errors import BadInput, unknown

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
SAVE = "bench.save_config"  # in a context's `meta`: the file that --save-config names
OWN = ("config", "save_config")


def _read(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Make the file's options the defaults of this command."""
    if path is not None:
        ctx.default_map = {**(ctx.default_map or {}), **_parse(path, ctx.command)}


def _parse(path: Path, command: click.Command) -> dict[str, Any]:
    """The values by parameter; BadInput for what is no file of options of this command."""
    options = _options(command)
    values: dict[str, Any] = {}
    for name, value in _load(path).items():
        word = str(name).replace("_", "-")
        if word not in options:
            raise unknown(f"option in {path}", word, options, f"{command.name} --help")
        values[str(options[word].name)] = _spell(options[word], value)
    return values


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".toml":
            import tomllib

            content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        else:
            import yaml

            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"--config {path} cannot be read as YAML or TOML: {reason}") from None
    if not isinstance(content, dict):
        raise BadInput(f"--config {path} holds no options; try: --save-config {path}")
    return content


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options by their long names without dashes."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in OWN
        for name in option.opts
        if name.startswith("--")
    }


def _spell(option: click.Option, value: Any) -> Any:
    """The value as the command line has it: a mapping is KEY=VALUE texts, a list is joined by
    commas where the option is given once."""
    from bench.core.params import format_setting

    if isinstance(value, dict):
        value = [f"{key}={format_setting(each)}" for key, each in value.items()]
    if isinstance(value, list) and not option.multiple:
        return ",".join(map(str, value))
    if isinstance(value, (list, bool)):
        return value
    return [str(value)] if option.multiple else str(value)


def _keep(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Remember the file until all options are read (`Verb.invoke`)."""
    if path is not None:
        ctx.meta[SAVE] = path


def save(ctx: click.Context, path: Path) -> None:
    """Write the options that were given, on the command line or in a file."""
    import yaml

    from bench.core.files import write_atomically

    values: dict[str, Any] = {}
    for name, option in _options(ctx.command).items():
        known = str(option.name)
        if known in ctx.params and ctx.get_parameter_source(known) in GIVEN:
            value = ctx.params[known]
            values[name] = list(value) if isinstance(value, tuple) else value
    with write_atomically(path) as partial:
        partial.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


config_options = add_options(
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="File with options, YAML or TOML, which those of the command line override.",
    ),
    click.option(
        "--save-config",
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        callback=_keep,
        help="File to write the given options to, as YAML for --config.",
    ),
)

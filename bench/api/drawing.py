"""The papers' figures as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.api.crops import record_stage
from bench.api.request import RuntimeOptions, make_runtime, open_progress
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.figures._content import Content

# parameter -> the name of its option, where that is another
OPTION_NAMES = {"backbones": "backbone", "images": "image", "sets": "set"}


@dataclass(frozen=True)
class Drawing:
    """A figure, and the stage that it was drawn from where there is one: its key, and whether it
    was made now."""

    figure: Figure
    stage: str = ""
    is_new: bool = False


def figure(
    name: str,
    *,
    progress: bool | Progress = True,
    runtime: RuntimeOptions | None = None,
    **options: Any,
) -> Figure:
    """Draw figure NAME of `bench figure list`; in a notebook the figure is shown.

    options: those of `bench figure`, by their names: `backbone` and `image` (one or a list),
    `cell`, `data`, `split`, `count`, `side`, `crop`, `scale`, `set` (a dict), `method`, `task`,
    `metric`, `source`, `size`, `objects`. A figure takes some of them. What needs a network is
    made from the store and kept there. Raises BadInput for an option that a figure does not take.

    Examples:
        >>> bench.figure("shares", task="knn")
        Traceback (most recent call last):
        ...
        bench.core.errors.BadInput: shares does not take --task; it takes --data, --crop, --objects
    """
    shown = draw(name, spell_options(options), make_runtime(runtime or {}), progress)
    return shown.figure


def spell_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a figure from Python's names and values."""
    from bench.core.params import format_setting

    spelled = dict(options)
    for parameter, option in OPTION_NAMES.items():
        if option in spelled:
            value = spelled.pop(option)
            if option == "set":
                value = tuple(f"{k}={format_setting(v)}" for k, v in value.items())
            one = isinstance(value, str) or not hasattr(value, "__iter__")
            spelled[parameter] = (str(value),) if one else tuple(map(str, value))
    return spelled


def draw(
    name: str, options: Mapping[str, Any], runtime: Runtime, progress: bool | Progress = True
) -> Drawing:
    """Draw a figure with the parameters that its file takes; empty ones do not count."""
    from bench import figures

    wanted = refuse_options(name, options)
    module = figures.figure(name)
    if "sets" in wanted:
        from bench.plan.options import parse_settings

        wanted["sets"] = parse_settings(wanted["sets"])
    if hasattr(module, "collect"):
        return Drawing(module.draw(_collect(module, runtime, wanted)))
    return _make(module, runtime, wanted, progress)


def refuse_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not empty; BadInput for one that the figure does not take."""
    from bench import figures

    module = figures.figure(name)
    wanted = {k: v for k, v in options.items() if v not in (None, (), "")}
    for parameter in wanted:
        option = OPTION_NAMES.get(parameter, parameter)
        if option not in module.OPTIONS:
            takes = ", ".join(f"--{o}" for o in module.OPTIONS)
            raise BadInput(f"{name} does not take --{option}; it takes {takes}")
    return wanted


def _collect(module: ModuleType, runtime: Runtime, options: dict[str, Any]) -> Content:
    """The content from the results database."""
    from bench.results.db.database import open_database

    if "data" in options:
        options["data"] = options["data"].partition("=")[0]
    with open_database(runtime.database).connect() as connection:
        content: Content = module.collect(connection, runtime.home, **options)
    return content


def _make(
    module: ModuleType, runtime: Runtime, options: dict[str, Any], progress: bool | Progress
) -> Drawing:
    """The figure from the store, where its content is made if it is missing."""
    from bench.figures._content import load
    from bench.launch.session import open_engine
    from bench.launch.stored import Selection

    with open_engine(runtime, open_progress(progress)) as (engine, _):
        stage = module.stage(Selection(engine, **options))
        content = load(engine.ensure(stage))
        is_new = stage.key in engine.outcome.made
        for part in (*stage.inputs.values(), stage):
            record_stage(engine, part)
    return Drawing(module.draw(content), stage.short, is_new)

"""The smaller charts of the dashboard's pages as pictures, for its downloads: curves, bars, points
and differences with their intervals, parallel axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.figures import _look
from bench.results.views.differences import DrawnDifference
from bench.results.views.trials import AxisPoint, SettingPoint, choose_spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.4  # inches
BAR = 0.24  # inches of a row
CHOSEN = _look.PALETTE[1]
LONGEST = 40  # letters of a name


def draw_curve(steps: Sequence[float], values: Sequence[float], name: str, title: str) -> Figure:
    """A figure of a training over its steps."""

    def paint(axes: Axes) -> None:
        axes.plot(steps, values, color=_look.PALETTE[0], linewidth=1.2)
        axes.set(xlabel="step", ylabel=_cut(name), title=_cut(title))

    return _draw(paint, 2.6)


def draw_bars(shares: Mapping[str, float], label: str) -> Figure:
    """A bar for each name, the first on top."""

    def paint(axes: Axes) -> None:
        axes.barh(range(len(shares)), list(shares.values()), 0.72, color=_look.PALETTE[0])
        axes.set(xlabel=_cut(label), ylim=(len(shares) - 0.5, -0.5))
        axes.set_yticks(range(len(shares)), list(map(_cut, shares)))
        axes.tick_params(axis="y", length=0)

    return _draw(paint, 0.6 + BAR * len(shares))


def draw_setting(
    points: Sequence[SettingPoint], setting: str, metric: str, spacing: str
) -> Figure:
    """The trials of a sweep at their values of a setting, with the 95 % intervals over seeds."""
    values = [point["x"] for point in points]
    kind = choose_spread(values, spacing)
    places: list[Any] = [_cut(point["text"]) for point in points] if kind == "names" else values

    def paint(axes: Axes) -> None:
        for at, point in zip(places, points, strict=True):
            half = 0.0 if point["high"] is None else point["high"] - point["value"]
            axes.errorbar(
                [at],
                [point["value"]],
                yerr=[half],
                fmt="D" if point["winner"] else "o",
                color=CHOSEN if point["winner"] else _look.PALETTE[0],
                markersize=6 if point["winner"] else 4,
                elinewidth=0.8,
                zorder=3 if point["winner"] else 2,
            )
        if kind == "log":
            axes.set_xscale("log")
        axes.set(xlabel=_cut(setting), ylabel=_cut(f"{metric}, validation"))
        axes.margins(0.08)

    return _draw(paint, 2.8)


def draw_differences(rows: Sequence[DrawnDifference]) -> Figure:
    """Differences from the first row with their intervals; a colour and a marker for each row."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    names = list(dict.fromkeys(row["row"] for row in rows))

    def paint(axes: Axes) -> None:
        for at, name in enumerate(names):
            mine = [row for row in rows if row["row"] == name]
            shift = 0.6 * ((at + 0.5) / len(names) - 0.5)
            axes.errorbar(
                [row["mean"] for row in mine],
                [tasks.index(row["task"]) + shift for row in mine],
                xerr=[row["high"] - row["mean"] for row in mine],
                fmt=_look.MARKERS[at % len(_look.MARKERS)],
                color=_look.PALETTE[at % len(_look.PALETTE)],
                markersize=4,
                elinewidth=0.8,
                label=_cut(name),
            )
        axes.axvline(0, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(xlabel="difference, points", ylim=(len(tasks) - 0.5, -0.5))
        axes.set_yticks(range(len(tasks)), list(map(_cut, tasks)))
        axes.figure.legend(loc="outside lower center", frameon=False)

    return _draw(paint, 0.9 + BAR * len(tasks) * max(1, len(names)) + 0.15 * len(names))


def draw_parallels(points: Sequence[AxisPoint]) -> Figure:
    """The settings of every trial as a line over axes, each from its lowest value to its
    highest."""
    names = list(dict.fromkeys(point["axis"] for point in points))
    trials: dict[int, list[AxisPoint]] = {}
    for point in points:
        trials.setdefault(point["trial"], []).append(point)

    def paint(axes: Axes) -> None:
        for line in trials.values():
            won = line[0]["winner"]
            axes.plot(
                [point["place"] for point in line],
                [point["at"] for point in line],
                color=CHOSEN if won else _look.PALETTE[0],
                linewidth=2 if won else 0.7,
                zorder=3 if won else 2,
            )
        axes.set_xticks(range(len(names)), list(map(_cut, names)))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)

    return _draw(paint, 2.8)


def _cut(name: str) -> str:
    """The name, its end left out where it would leave no room for the plot."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _draw(paint: Callable[[Axes], None], height: float) -> Figure:
    import matplotlib

    with matplotlib.rc_context(_look.STYLE):
        figure = _look.new_figure(WIDTH, height)
        paint(figure.subplots())
    return figure

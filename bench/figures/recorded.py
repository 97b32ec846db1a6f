"""Pictures that were recorded in the results database, drawn again from what the store keeps of
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from bench import figures
from bench.results.db.models import ProvenanceRow, StageRow
from bench.results.html.matrix import Shade
from bench.results.papers.pairs import Pair
from bench.results.views.crop_matrix import CropMatrix
from bench.results.views.lineage import StageInfo
from bench.results.views.stage_files import find_stage_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKBONES = ("pretrain", "weights")  # kinds of stages
COLLECTED = ("objectness", "shares")  # drawn from the results database alone


@dataclass(frozen=True)
class Kept:
    """A picture, when it was made, what it was made from ({role: "kind/name key"}), and whether
    the store still has it."""

    stage: StageInfo
    made: str
    held: bool
    inputs: Mapping[str, str]


def describe() -> list[tuple[str, str, str]]:
    """(name, summary, source) of every picture that is kept in the store."""
    names = [n for n in figures.names() if n not in COLLECTED]
    return [(n, figures.summary(n), figures.figure(n).SOURCE) for n in names]


@dataclass(frozen=True)
class Backbone:
    """A pretraining that the store holds, from which pictures can be made."""

    key: str
    method: str
    crop: str
    made: str  # when

    @property
    def title(self) -> str:
        names = " × ".join(name for name in (self.method, self.crop) if name)
        return f"{names}, {self.key[:12]}, made {self.made[:16].replace('T', ' ')}"


def list_backbones(
    connection: Connection, home: Path | None = None, most: int = 50
) -> list[Backbone]:
    """The pretrainings that the store holds, the newest `most` of them."""
    query = select(StageRow.__table__, ProvenanceRow.record)
    query = query.join(ProvenanceRow, ProvenanceRow.stage_key == StageRow.key, isouter=True)
    query = query.where(StageRow.kind.in_(BACKBONES))
    held = []
    for row in connection.execute(query).mappings():
        record: Mapping[str, Any] = row["record"] or {}
        fields = {n: row[n] for n in StageInfo.__dataclass_fields__ if n != "provenance"}
        stage = StageInfo(**fields, provenance=record)
        if find_stage_folder(stage, home) is not None:
            made = str(record.get("started", ""))
            held.append(Backbone(stage.key, stage.name, _name_crop(stage.params), made))
    return sorted(held, key=lambda b: (b.made, b.key), reverse=True)[:most]


def _name_crop(params: Mapping[str, Any]) -> str:
    crop = params.get("crop")
    name = crop.get("name") if isinstance(crop, Mapping) else crop
    return name if isinstance(name, str) else ""


def list_options(name: str) -> tuple[str, ...]:
    """The options of `bench figure NAME`, without dashes."""
    options: tuple[str, ...] = figures.figure(name).OPTIONS
    return options


def read_usual_seconds(connection: Connection, name: str) -> tuple[float, int]:
    """(median seconds of the pictures of this kind that were made, how many there are); 0 of
    none."""
    query = select(StageRow.seconds).where(StageRow.kind == "figure", StageRow.name == name)
    seconds = [s for s in connection.scalars(query) if s is not None]
    return (median(seconds), len(seconds)) if seconds else (0.0, 0)


def command_words(name: str, backbone: str = "", count: int = 0) -> list[str]:
    """The words of `bench figure` behind "bench", without its file."""
    words = ["figure", name]
    words += ["--backbone", backbone[:12]] if backbone else []
    return [*words, "--count", str(count)] if count else words


def command(name: str, file: str = "png") -> str:
    """The command line that makes a figure."""
    return f"bench figure {name} --out {name}.{file}"


def command_again(picture: Kept) -> str:
    """The command line that makes this very picture, as far as its inputs tell: its backbones, its
    cell and its images."""
    keys = [
        (role.rstrip("0123456789"), key[:12])
        for role, key in picture.stage.inputs.items()
        if role.rstrip("0123456789") in ("backbone", "cell")
    ]
    images = picture.stage.params.get("images", []) if keys else []
    words = [f"--{option} {value}" for option, value in (*keys, *(("image", i) for i in images))]
    return " ".join([command(picture.stage.name), *words])


def list_pictures(connection: Connection, home: Path | None = None) -> list[Kept]:
    """Every figure stage that was recorded: those that the store holds, then the others, the
    newest first."""
    query = select(StageRow.__table__, ProvenanceRow.record)
    query = query.join(ProvenanceRow, ProvenanceRow.stage_key == StageRow.key, isouter=True)
    rows = connection.execute(query.where(StageRow.kind == "figure")).mappings().all()
    wanted = {key for row in rows for key in row["inputs"].values()}
    names = select(StageRow.key, StageRow.kind, StageRow.name).where(StageRow.key.in_(wanted))
    known = {key: f"{kind}/{name} {key[:12]}" for key, kind, name in connection.execute(names)}
    pictures = []
    for row in rows:
        record: Mapping[str, Any] = row["record"] or {}
        fields = {n: row[n] for n in StageInfo.__dataclass_fields__ if n != "provenance"}
        inputs = {role: known.get(key, key[:12]) for role, key in row["inputs"].items()}
        stage = StageInfo(**fields, provenance=record)
        held = find_stage_folder(stage, home) is not None
        pictures.append(Kept(stage, str(record.get("started", "")), held, inputs))
    return sorted(pictures, key=lambda k: (k.held, k.made, k.stage.key), reverse=True)


def draw_stage(stage: StageInfo, kind: str = "png", home: Path | None = None) -> bytes | None:
    """The figure stage as a file of type png, svg or pdf; None where the store does not hold it.
    Raises BadData where what it holds is damaged."""
    from bench.figures._content import load

    folder = find_stage_folder(stage, home)
    return None if folder is None else draw_picture(stage.name, load(folder), kind)


def draw_picture(name: str, content: Mapping[str, Any], kind: str = "png") -> bytes:
    """The content of figure `name` as a file."""
    from bench.figures._look import render

    return render(figures.figure(name).draw(content), kind)


def draw_matrix(matrix: CropMatrix, shade: Shade, kind: str = "png") -> bytes:
    """Methods x crops of a task as a file."""
    from bench.figures._look import render
    from bench.figures.crop_matrix import draw

    return render(draw(matrix, shade), kind)


def draw_pairs(pairs: Sequence[Pair], title: str, kind: str = "png") -> bytes:
    """A paper's numbers against those measured here as a file."""
    from bench.figures._look import render
    from bench.figures.paper_pairs import draw

    return render(draw(pairs, title), kind)


def draw_plot(draw: Callable[[], Figure], kind: str = "png") -> bytes:
    """What `draw` makes (`bench.figures.page_plots`) as a file."""
    from bench.figures._look import render

    return render(draw(), kind)


def describe_figure(name: str, content: Mapping[str, Any]) -> str:
    """A figure of the results database in words."""
    text: str = figures.figure(name).describe(content)
    return text


def list_points(
    name: str, content: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """(headings, rows) of what a figure of the results database draws."""
    points: tuple[tuple[str, ...], list[tuple[object, ...]]] = figures.figure(name).list_rows(
        content
    )
    return points


def collect_figure(
    connection: Connection, name: str, home: Path, choices: Mapping[str, str]
) -> dict[str, Any]:
    """The content of a figure of the results database; BadInput where there is nothing to show."""
    content: dict[str, Any] = figures.figure(name).collect(connection, home, **choices)
    return content

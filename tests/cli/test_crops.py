"""`bench crops`: its JSON and CSV contracts, pictures, bad input, and its rows in the database."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import registry
from bench.results.db.database import open_database
from bench.results.db.rebuild import rebuild
from tests.e2e.micro import wide_lines

SETS = ("scenes.n_train=8", "scenes.n_val=3")
UNTRAINED = ("anchors_scda.phi=random_init", "random_init.image_size=32")
MEANS = (
    "objectness",
    "poor",
    "coarse",
    "precise",
    "area",
    "side",
    "coverage",
    "overlap",
    "view_iou",
    "shared_objectness",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crops") / "home"


@pytest.fixture(autouse=True)
def shared(kept: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One BENCH_HOME for this file: stages are made once."""
    monkeypatch.setenv("BENCH_HOME", str(kept))


@pytest.fixture
def bench(capfd: pytest.CaptureFixture[str]) -> Any:
    """bench(...) -> (exit code, stdout, lines of stderr but those of progress)."""
    from bench.cli import main

    def call(*arguments: str, sets: tuple[str, ...] = SETS) -> tuple[int, str, list[str]]:
        more = [x for s in sets for x in ("--set", s)]
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["crops", *arguments, *more, "--workers", "0", "--devices", "cpu"])
        out, error = capfd.readouterr()
        said = [line for line in error.splitlines() if line.startswith(("bench: ", "left out: "))]
        assert "Traceback" not in error
        return int(left.value.code or 0), out, said

    return call


def test_json_has_every_crop_with_its_settings_and_stage(bench: Any, kept: Path) -> None:
    code, out, _ = bench("stats", "--json", sets=(*SETS, *UNTRAINED))
    assert code == 0
    rows = json.loads(out)
    assert [r["crop"] for r in rows] == registry.names("crop")
    for row in rows:
        assert {"crop", "data", "split", "source", "stage", "params", "stats"} == set(row)
        assert (row["data"], row["split"], row["source"]) == ("scenes", "train", "boxes")
        assert set(MEANS) <= set(row["stats"])
        assert all(set(row["stats"][m]) == {"mean", "ci95", "n"} for m in MEANS)
        folder = next((kept / "store" / "crop_stats").glob(f"{row['crop']}-{row['stage'][:12]}"))
        assert json.loads((folder / "stats.json").read_text()) == row["stats"]
        assert row["stats"]["images"] == 8
    by_name = {r["crop"]: r for r in rows}
    assert by_name["gt"]["stats"]["objectness"]["mean"] == 1
    assert by_name["coarse"]["params"]["n_crops"] == 5
    assert (
        by_name["poor"]["stats"]["objectness"]["mean"]
        < by_name["image"]["stats"]["objectness"]["mean"]
    )
    found = open_database(f"sqlite:///{kept / 'results.db'}").read_crops()
    assert {(f["crop"], f["data"], f["split"], f["stage_key"]) for f in found} >= {
        (r["crop"], "scenes", "train", r["stage"]) for r in rows
    }
    assert {
        f["crop"]: f["stats"] for f in found if f["stage_key"] in {r["stage"] for r in rows}
    } == {r["crop"]: r["stats"] for r in rows}


def test_csv_is_one_line_per_crop(bench: Any) -> None:
    code, out, _ = bench(
        "stats", "--csv", "--crop", "gt*,grid", "--split", "val", "--objects", "masks"
    )
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["crop"] for r in rows] == ["gt", "gt_pad", "grid"]
    code, out, _ = bench(
        "stats", "--json", "--crop", "gt*,grid", "--split", "val", "--objects", "masks"
    )
    for row, stats in zip(rows, [r["stats"] for r in json.loads(out)], strict=True):
        assert (row["data"], row["split"], row["source"], row["images"]) == (
            "scenes",
            "val",
            "masks",
            "3",
        )
        for name in MEANS:
            for end, key in (("", "mean"), ("_ci95", "ci95")):
                value = stats[name][key]
                assert row[name + end] == ("" if value is None else str(value))


def test_the_table_is_ordered_by_objectness(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, error = bench("stats", "--crop", "gt,poor,image")
    assert (code, error) == (0, [])
    assert not wide_lines(out)
    lines = [
        line
        for line in out.splitlines()
        if any(line.startswith(f"{n} ") for n in ("gt", "poor", "image"))
    ]
    assert [line.split()[0] for line in lines[:3]] == ["poor", "image", "gt"]
    assert "100.0" in lines[2]
    assert len(lines) % 3 == 0, "a block of columns has every row"
    assert "scenes train, objects by boxes" in out


def test_settings_reach_the_crop_and_make_another_stage(bench: Any) -> None:
    _, plain, _ = bench("stats", "--json", "--crop", "poor")
    _, fewer, _ = bench("stats", "--json", "--crop", "poor", sets=(*SETS, "poor.n_crops=2"))
    one, two = json.loads(plain)[0], json.loads(fewer)[0]
    assert (one["params"]["n_crops"], two["params"]["n_crops"]) == (5, 2)
    assert one["stage"] != two["stage"]
    assert one["stats"]["crops_per_image"] > two["stats"]["crops_per_image"] > 1
    assert one["stats"]["samples_per_epoch"] == one["stats"]["images"], "what tiny trains on"
    _, again, _ = bench("stats", "--json", "--crop", "poor", "--epochs", "3")
    assert json.loads(again)[0]["stats"]["objectness"]["n"] == 3 * one["stats"]["objectness"]["n"]


@pytest.mark.parametrize(
    ("arguments", "sets", "message"),
    [
        (("stats", "--crop", "grit"), (), "unknown crop 'grit' (did you mean 'grid'?)"),
        (
            ("stats", "--crop", "grid", "--data", "sceens"),
            (),
            "unknown data 'sceens' (did you mean",
        ),
        (
            ("stats", "--crop", "grid", "--split", "test"),
            SETS,
            "scenes has the splits train and val",
        ),
        (("stats", "--crop", "grid", "--objects", "pixels"), (), "'pixels' is not one of"),
        (("stats", "--crop", "grid", "--epochs", "0"), (), "0 is not in the range"),
        (("stats", "--crop", "grid", "--scale", "huge"), (), "unknown scale 'huge'"),
        (("stats", "--crop", "grid"), ("grid.pad=1",), "unknown setting of grid 'pad'"),
        (("stats", "--crop", "gt_pad"), ("gt_pad.pad=-1",), "gt_pad.pad: "),
        (("stats", "--crop", "grid"), ("grid.grid_three_row=left",), "grid.grid_three_row: "),
        (("stats", "--crop", "grid", "--data", "images=/no/such"), (), "no image under /no/such"),
        (("stats", "--crop", "grid", "--image-objectness", "200"), SETS, "200"),
        (
            ("stats", "--crop", "grid", "--image-objectness", "100"),
            SETS,
            "can only be weighed to a value",
        ),
        (
            ("show", "nothing.jpg", "--crop", "grid"),
            SETS,
            "no file and no image id of scenes: 'nothing.jpg'",
        ),
        (("show", "99", "--crop", "grid"), SETS, "ids are like 1, 2, 3; try: bench crops show 1"),
        (
            ("show", "1", "--crop", "grid", "--out", "/proc/none/a.png"),
            SETS,
            "a.png cannot be written",
        ),
        (("show", "1", "--crop", "grid", "--width", "9"), (), "9 is not in the range"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(
    arguments: tuple[str, ...], sets: tuple[str, ...], message: str, bench: Any
) -> None:
    code, out, error = bench(*arguments, sets=sets)
    assert code == 2
    assert len(error) == 1, error
    assert message in error[0]
    assert error[0].startswith("bench: ")
    assert not out


def photo(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    small.resize((96, 72)).save(folder / "photo.jpg", exif=exif)
    return folder / "photo.jpg"


def test_crops_that_need_annotations_say_so_and_the_others_go_on(
    bench: Any, tmp_path: Path
) -> None:
    photo(tmp_path)
    code, out, error = bench(
        "stats", "--crop", "gt,gt_pad,grid", "--data", f"images={tmp_path}", "--json", sets=()
    )
    assert code == 2
    assert json.loads(out) == []  # without annotations nothing has an objectness
    assert len(error) == 1
    assert error[0].startswith("bench: gt, gt_pad, grid: data 'images' has no annotations")


def read(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def test_show_draws_the_crops_of_an_image_id(bench: Any, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "crops.png"
    code, text, error = bench(
        "show", "2", "--crop", "image,grid,gt", "--out", str(out), "--width", "200"
    )
    assert (code, error) == (0, [])
    picture = read(out)
    assert f"{out}: 3 strategies, {picture.shape[1]} x {picture.shape[0]} pixels" in text
    assert picture.shape[1] == 3 * (200 + 6)
    panels = [picture[18:, x : x + 200] for x in (0, 206, 412)]
    assert not np.array_equal(panels[0], panels[1])
    assert not np.array_equal(panels[1], panels[2])


def test_show_draws_every_strategy_on_a_file_but_those_that_need_annotations(
    bench: Any, tmp_path: Path
) -> None:
    """Networks and BING learn from --data; the picture itself has no annotations."""
    out = tmp_path / "crops.png"
    code, text, error = bench(
        "show", str(photo(tmp_path)), "--out", str(out), "--width", "64", sets=(*SETS, *UNTRAINED)
    )
    assert code == 0
    assert [line.split(":")[1].strip() for line in error] == ["gt", "gt_pad", "poor"]
    assert all("has no annotations" in line for line in error)
    kept_crops = len(registry.names("crop")) - 3
    assert f"{kept_crops} strategies" in text
    picture = read(out)
    assert picture.shape[1] == 4 * (64 + 6)  # four panels a row
    rows = -(-(kept_crops + 1) // 4)  # and the score map of the coarse crop
    assert picture.shape[0] == rows * (18 + round(64 * 96 / 72) + 6)  # upright: 72 wide, 96 high


def test_reused_statistics_enter_a_new_database(bench: Any, kept: Path, tmp_path: Path) -> None:
    _, out, _ = bench("stats", "--crop", "grid,gt", "--json")
    rows = json.loads(out)
    for file in kept.glob("results.db*"):
        file.unlink()
    code, again, error = bench("stats", "--crop", "grid,gt", "--json")
    assert (code, error, json.loads(again)) == (0, [], rows)
    found = open_database(f"sqlite:///{kept / 'results.db'}").read_crops()
    assert [(f["crop"], f["data"], f["stats"]) for f in found] == [
        (r["crop"], "scenes", r["stats"]) for r in sorted(rows, key=lambda r: r["crop"])
    ]


def test_rebuild_restores_the_rows_of_crops(bench: Any, kept: Path, tmp_path: Path) -> None:
    bench("stats", "--crop", "grid,gt", "--json")
    database = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    stages, results = rebuild(kept / "store", database)
    assert stages == len(list((kept / "store").glob("*/*/done")))
    assert results == 0
    stored = {
        f.parent.name: json.loads(f.read_text())
        for f in (kept / "store").glob("crop_stats/*/stats.json")
    }
    rows = database.read_crops()
    assert {f"{r['crop']}-{r['stage_key'][:12]}": r["stats"] for r in rows} == stored
    assert {r["data"] for r in rows} <= {"scenes", "images"}
    assert all(r["data_key"] for r in rows)
    rebuild(kept / "store", database)  # again: the same rows
    assert database.read_crops() == rows


def test_a_database_of_the_first_schema_gains_the_table(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, inspect

    url = f"sqlite:///{tmp_path / 'results.db'}"
    engine = create_engine(url)
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", "bench.results:migrations")
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    assert not inspect(engine).has_table("crop_stats")
    database = open_database(url)
    assert inspect(database.engine).has_table("crop_stats")
    assert database.read_crops() == []


def test_removing_a_stage_removes_its_row(kept: Path, tmp_path: Path, bench: Any) -> None:
    from sqlalchemy import text

    bench("stats", "--crop", "grid", "--json")
    database = open_database(f"sqlite:///{tmp_path / 'copy.db'}")
    rebuild(kept / "store", database)
    assert database.read_crops()
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM stages"))
    assert database.read_crops() == []

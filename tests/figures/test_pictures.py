"""Pictures made from a store of tiny networks, by the command line and on the dashboard."""

from __future__ import annotations

import fcntl
import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from bench import figures
from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.titles import title_of
from bench.core.errors import BadData, BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.figures._content import load
from bench.figures.attention import attention
from bench.figures.correlation import correlations, key_view
from bench.figures.recorded import draw_stage, list_pictures
from bench.launch.local import LocalEngine
from bench.launch.stored import Selection
from bench.results.db.database import open_database
from bench.results.db.listener import DatabaseListener
from tests.figures.store import bench, fill
from tests.patience import HANG

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
FEW = {  # images, else four
    "crops": ["--crop", "image,grid,gt"],
    "correlation": ["--count", "2"],
    "jitters": ["--count", "2"],
    "scda": ["--count", "2"],
}
MADE = ("attention", "correlation", "crops", "embedding", "jitters", "pairs", "scda")


@pytest.fixture(scope="module")
def store(common_folder: Path) -> Path:
    """A store with every picture in it but the detections'; `made.json` has their keys. The first
    process of a run makes it."""
    home = common_folder / "pictures"
    with open(common_folder / "pictures.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "made.json").exists():
            fill(home)
            made = {
                name: draw(home, name, home / f"{name}.png", *FEW.get(name, [])) for name in MADE
            }
            (home / "made.json").write_text(json.dumps(made))
    return home


def draw(home: Path, name: str, file: Path, *options: str) -> str:
    """Make a picture; the beginning of its key."""
    said = bench(home, "figure", name, *options, "--out", str(file), "--devices", "cpu")
    return said.rstrip().rpartition(" ")[2]


def key_of(home: Path, name: str) -> str:
    return str(json.loads((home / "made.json").read_text())[name])


def contents(home: Path, name: str) -> dict[str, Any]:
    return load(home / "store" / "figure" / f"{name}-{key_of(home, name)}")


def ask(home: Path, **options: Any) -> Selection:
    runtime = Runtime(
        home=home, database=f"sqlite:///{home / 'results.db'}", tracker="none", devices="cpu"
    )
    return Selection(
        LocalEngine(runtime, Store(home), DatabaseListener(open_database(runtime.database))),
        **options,
    )


def test_components_name_figures_that_exist_and_runners_that_can_be_called() -> None:
    found = set()
    for kind, name in registry.entries():
        for figure, runner in registry.load(kind, name).figures().items():
            module, _, function = runner.partition(":")
            assert figure in figures.names()
            assert callable(getattr(importlib.import_module(module), function))
            found.add(figure)
    assert found == {"pairs", "jitters", "scda", "embedding", "predictions"}


def test_pictures_are_not_blank(store: Path) -> None:
    for name in MADE:
        assert cv2.imread(str(store / f"{name}.png")).std() > 10, name


@pytest.mark.parametrize("name", ["crops", "pairs"])
def test_the_same_command_again_only_draws(store: Path, name: str) -> None:
    svg = store / f"{name}.svg"
    said = bench(store, "figure", name, *FEW.get(name, []), "--out", str(svg), "--devices", "cpu")
    assert "kept as" in said
    assert "<image" in svg.read_text()


def test_rows_and_columns_are_what_they_say(store: Path) -> None:
    looks = contents(store, "attention")
    assert looks["columns"] == ["image", "ccop × image", "orl × image"], "the newest two methods"
    assert [len(row) for row in looks["rows"]] == [3] * 4
    assert all(row[1]["heat"].max() == 1 and row[1]["heat"].min() == 0 for row in looks["rows"])
    found = contents(store, "correlation")
    assert found["columns"] == ["query", "key view", "C2", "C3", "C4", "C5"]
    shown = contents(store, "crops")
    assert [p["title"] for row in shown["rows"] for p in row][:2] == ["image (1)", "grid (5)"]
    grid = shown["rows"][0][1]
    height, width = grid["image"].shape[:2]
    sides = grid["boxes"][:, 2:] - grid["boxes"][:, :2]
    assert sides.prod(1).sum() == pytest.approx(width * height)
    assert contents(store, "embedding")["places"].shape[1] == 2
    assert all(len(row[2]["boxes"]) <= 5 for row in contents(store, "scda")["rows"])


def test_jitters_are_within_the_bound_of_their_time(store: Path) -> None:
    made = contents(store, "jitters")
    bounds = [float(c.rpartition(" ")[2]) for c in made["columns"][1:]]
    assert bounds == [0.8, 0.7, 0.6, 0.5, 0.4]
    boxes_drawn = 0
    for row in made["rows"]:
        for bound, shown in zip(bounds, row[1:], strict=True):
            *moved, region = shown["boxes"]
            assert shown["dashed"] == [False] * len(moved) + [True]
            for box in moved:
                boxes_drawn += 1
                assert overlap(box, region) >= bound - 1e-5
    assert boxes_drawn > 5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_pairs_are_those_of_the_stage(store: Path) -> None:
    (folder,) = (store / "store" / "pairs").glob("*")
    with np.load(folder / "pairs.npz") as file:
        table = dict(file)
    panels = [p for row in contents(store, "pairs")["rows"] for p in row]
    ids = [int(p["title"].split()[1]) for p in panels]
    for mine, other, left in zip(ids[::2], ids[1::2], panels[::2], strict=True):
        i = list(table["ids"]).index(mine)
        assert table["ids"][table["neighbours"][i, 0]] == other
        first = table["pairs"][table["pair_first"][i * table["neighbours"].shape[1]]][0]
        assert left["boxes"][0] == pytest.approx(table["boxes"][table["box_first"][i] + first])


def test_stages_come_back_from_their_records(store: Path) -> None:
    asked = ask(store)
    newest = asked.latest(lambda r: r["kind"] == "evaluate")
    assert newest is not None
    again = Stage(
        newest.kind, newest.name, newest.version, newest.params, newest.runner, dict(newest.inputs)
    )
    assert again.key == newest.key
    assert title_of(newest.inputs["backbone"]) == "ccop × image"
    short = newest.key[:10]
    (backbone,) = ask(store, backbones=(short,)).backbone_stages(1)
    assert backbone.key == newest.inputs["backbone"].key, "a result's key names its backbone"
    with pytest.raises(BadInput, match="is no evaluate stage"):
        asked.find_stage(newest.inputs["data"].key, ("evaluate",))


def test_images_are_chosen_by_id_by_file_or_evenly(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    for options, wanted in ((["--image", str(file)], 1), (["--count", "2"], 2)):
        key = draw(store, "attention", tmp_path / "made.png", *options)
        assert len(load(store / "store" / "figure" / f"attention-{key}")["rows"]) == wanted
    with pytest.raises(
        BadInput, match=r"no file and no image id of scenes/val: '99'; ids are like"
    ):
        bench(store, "figure", "attention", "--image", "99", "--out", str(tmp_path / "a.png"))
    with pytest.raises(BadInput, match="one file or ids"):
        bench(
            store, "figure", "scda", "-i", str(file), "-i", "3", "--out", str(tmp_path / "a.png")
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("attention", "--metric", "AP", "--out", "a.png"),
            "attention does not take --metric; it takes --backbone",
        ),
        (("attention",), "--out is missing; try: bench figure attention --out attention.png"),
        (("attention", "--out", "a.jpeg"), "png, svg, pdf"),
        (("attenton", "--out", "a.png"), "did you mean 'attention'"),
        (("attention", "--out", "a.png"), "the store has no backbone yet; run first: bench run"),
        (("pairs", "--out", "a.png"), "orl can; run first: bench run --method orl"),
        (("predictions", "--out", "a.png"), "run first: bench run --task coco_det --method"),
        (("objectness", "--source", "measured", "--out", "a.png"), "run first: bench run"),
        (("shares", "--out", "a.png"), "run first: bench crops stats"),
        (("attention", "--backbone", "abcdef", "--out", "a.png"), "no stage has key 'abcdef'"),
    ],
)
def test_mistakes_are_one_line(home: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput) as error:
        bench(home, "figure", *arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_list_names_every_figure(home: Path) -> None:
    rows = json.loads(bench(home, "figure", "list", "--json"))
    assert [r["name"] for r in rows] == figures.names()
    assert "bench figure attention --out attention.png" in bench(home, "figure", "list")


def test_attention_of_a_resnet_is_the_sum_of_its_last_map() -> None:
    from torchvision.models import resnet18
    from torchvision.models.feature_extraction import create_feature_extractor

    from bench.nn.backbones import build_backbone

    torch.manual_seed(0)
    backbone = build_backbone("resnet18").eval()
    other = resnet18().eval()
    other.load_state_dict(backbone.state_dict(), strict=False)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(image).float() / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        total = create_feature_extractor(other, ["layer4"])(pixels)["layer4"][0].sum(0).double()
    wanted = (total - total.min()) / (total.max() - total.min())
    assert attention(backbone, image, 64) == pytest.approx(wanted.numpy(), abs=1e-4)


def test_attention_of_a_vit_is_the_class_tokens() -> None:
    from bench.nn.backbones import build_backbone

    torch.manual_seed(0)
    name = "vit_tiny"
    backbone: Any = build_backbone(name).eval()
    image = np.random.default_rng(0).integers(
        0, 255, (2 * backbone.patch, 3 * backbone.patch, 3), np.uint8
    )
    found = attention(backbone, image, 2 * backbone.patch)
    seen: list[torch.Tensor] = []
    last = backbone.blocks[-1].attn
    last.fused_attn = False  # timm's other path, whose weights can be seen
    last.attn_drop.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    attention(backbone, image, 2 * backbone.patch)
    weights = seen[0][0, :, 0, 1:].mean(0).double().reshape(found.shape)
    wanted = (weights - weights.min()) / (weights.max() - weights.min())
    assert found == pytest.approx(wanted.detach().numpy(), abs=1e-4)


class Colours(torch.nn.Module):
    """A "network" whose map is the image, 4 x 4 pixels a position."""

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 4)


def test_an_object_is_found_where_its_colour_is() -> None:
    query = np.zeros((64, 64, 3), np.uint8)
    query[:, :32, 0], query[:, 32:, 2] = 255, 255
    key = np.ascontiguousarray(query[:, ::-1])
    (found,) = correlations(Colours(), query, np.array([4.0, 8, 28, 60]), key, 64)
    assert found.shape == (16, 16)
    assert found[:, 8:] == pytest.approx(1)
    assert found[:, :8] == pytest.approx(0)


@pytest.mark.parametrize("seed", range(5))
def test_the_key_view_is_a_mirrored_crop_that_holds_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.zeros((50, 80, 3), np.uint8)
    image[..., 0] = np.arange(80)
    image[..., 1] = np.arange(50)[:, None]
    x, y = rng.uniform(5, 75), rng.uniform(5, 45)
    view = key_view(image, np.array([x - 4, y - 4, x + 4, y + 4]), rng)
    assert view.shape[0] * view.shape[1] >= 0.45 * 80 * 50
    assert (np.diff(view[0, :, 0].astype(int)) == -1).all()
    assert view[0, -1, 0] <= x <= view[0, 0, 0] + 1
    assert view[0, 0, 1] <= y <= view[-1, 0, 1] + 1


def test_predictions_are_the_best_that_the_cell_kept(store: Path, tmp_path: Path) -> None:
    from tasks._detection.figure import run

    asked = ask(store)
    cell = asked.latest(lambda r: r["kind"] == "evaluate")
    assert cell is not None
    data = asked.data_stage(cell.inputs["data"])
    images = asked.open_split(data, "val")
    objects, first = images.objects(0), int(images.ids[0])
    x1, y1, x2, y2 = (float(v) for v in objects.boxes[0])
    best = {"image_id": first, "category_id": 1, "score": 0.9, "bbox": [x1, y1, x2 - x1, y2 - y1]}
    rest = [{**best, "score": 0.5 - 0.001 * i} for i in range(50)]
    elsewhere = {**best, "image_id": int(images.ids[1]), "score": 0.01}
    folder = tmp_path / "cell"
    folder.mkdir()
    (folder / "detections.json").write_text(json.dumps([*rest, best, elsewhere]))
    task = registry.load("task", "coco_det").resolve("tiny").identity()
    params = {"images": [int(i) for i in images.ids[:2]], "split": "val", "task": task}
    stage = Stage("figure", "predictions", 1, params, "x:y", {"data": data, "cell": cell})
    inputs = {"data": Store(store).folder(data), "cell": folder}
    work = tmp_path / "work"
    work.mkdir()
    run(StageContext(stage, work, inputs, asked.engine.runtime))
    truth, found = load(work)["rows"]
    assert truth[0]["boxes"] == pytest.approx(objects.boxes)
    assert found[0]["labels"][0] == f"{images.classes[0]} 90"
    assert found[0]["boxes"][0] == pytest.approx(objects.boxes[0])
    assert len(found[0]["boxes"]) == min(12, len(objects.boxes))
    assert found[1]["title"] == "nothing", "too low a score"
    (folder / "detections.json").unlink()
    with pytest.raises(BadData, match="kept no detections"):
        run(StageContext(stage, work, inputs, asked.engine.runtime))


def show(page: str, **parameters: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=HANG)
    for name, value in {"page": page, **parameters}.items():
        app.query_params[name] = value
    return app.run()


def text(app: AppTest) -> str:
    assert not app.exception, app.exception
    return "\n".join([e.proto.body for e in app.get("html")] + [c.value for c in app.code])


@pytest.mark.parametrize("name", ["attention", "embedding"])
def test_the_dashboard_shows_what_the_store_keeps(
    store: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(store))
    app = show("pictures", name=name, key=key_of(store, name))
    found = text(app)
    assert f"bench figure {name} --out {name}.png" in found
    assert ("--backbone" if name == "attention" else "--cell") in found, (
        "the command of this very picture"
    )
    assert found.count('<img class="b-picture"') == 1
    with open_database(f"sqlite:///{store / 'results.db'}").engine.connect() as connection:
        (mine,) = [
            k
            for k in list_pictures(connection, store)
            if k.stage.key.startswith(key_of(store, name))
        ]
    assert mine.held
    assert mine.inputs["data"].startswith("data/scenes ")
    assert draw_stage(mine.stage, home=store) == (store / f"{name}.png").read_bytes(), (
        "the same drawing"
    )
    assert draw_stage(mine.stage, home=store / "elsewhere") is None


def test_the_dashboard_says_how_to_make_what_is_missing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(store))
    app = show("pictures", name="predictions")
    assert "No such picture was made yet" in text(app)
    assert "bench figure predictions --out predictions.png" in text(app)
    assert "<img" not in text(app)


def test_the_objectness_page_shows_what_papers_report_and_the_command(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(store))
    found = text(show("objectness"))
    assert "bench crops stats" in found
    assert "reported: paper 000, Table 2" in found
    bench(
        store,
        "crops",
        "stats",
        "--crop",
        "image",
        "--set",
        "scenes.n_train=16",
        "--set",
        "scenes.n_val=6",
        "--workers",
        "0",
    )
    app = show("objectness", source="measured")
    assert "--scale tiny --data scenes --task object_knn --metric recall_k1" in text(app)
    charts = app.get("arrow_vega_lite_chart") + app.get("vega_lite_chart")
    assert len(charts) == 2, "the scatter and the shares"

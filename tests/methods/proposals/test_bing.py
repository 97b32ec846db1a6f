"""BING: parts against plain loops, training against LIBLINEAR, boxes against OpenCV and chance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet, Objects
from bench.contracts.registry import load
from bench.core.errors import BadData, BadInput
from bench.core.image import read_rgb
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.data.boxes import iou
from bench.data.scenes.draw import draw_scene
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages import proposals as engine
from methods.proposals.bing import ng, opencv
from methods.proposals.bing import train as training
from tests.core.test_store import Heard
from tests.small_set import SmallSet

BING: Any = load("proposals", "bing")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(3, 3), (8, 11), (13, 9)])
def test_normed_gradients_are_those_of_a_plain_loop(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    height, width = shape
    pixel = image.astype(int)
    expected = np.zeros(shape, int)
    for y in range(height):
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            gx = max(
                abs(int(a) - int(b)) for a, b in zip(pixel[y, left], pixel[y, right], strict=True)
            )
            gy = max(
                abs(int(a) - int(b)) for a, b in zip(pixel[up, x], pixel[down, x], strict=True)
            )
            gx, gy = gx * 2 // (right - left), gy * 2 // (down - up)
            expected[y, x] = min(gx + gy, 255)
    assert np.array_equal(ng.normed_gradient(image), expected)


def test_responses_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    gradients, template = noise(12, 17)[..., 0], rng.normal(size=(8, 8))
    found = ng.responses(gradients, template)
    assert found.shape == (5, 10)
    for y in range(5):
        for x in range(10):
            wanted = (gradients[y : y + 8, x : x + 8].astype(float) * template).sum()
            assert found[y, x] == pytest.approx(wanted, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("limit", [1, 4, 1000])
@pytest.mark.parametrize("levels", [2, 10, 10**6])  # 2: nearly everything is equal
def test_suppression_is_greedy(levels: int, limit: int) -> None:
    response = np.random.default_rng(levels).integers(0, levels, (23, 31)).astype(np.float32)
    free = np.ones(response.shape, bool)
    wanted: list[tuple[int, int]] = []
    for at in np.argsort(-response.ravel(), kind="stable"):
        y, x = divmod(int(at), 31)
        if free[y, x] and len(wanted) < limit:
            wanted.append((y, x))
            free[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = False
    rows, columns = ng.suppress(response, limit)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == wanted


def test_window_sizes_follow_the_short_side() -> None:
    at, sides = ng.window_sizes(640, 480, scaled=True)
    assert len(at) == 36
    assert sides.min() == 16
    assert sides.max() == 512
    assert sides[:, 1].max() == 480
    half, smaller = ng.window_sizes(320, 240, scaled=True)
    assert np.array_equal(half, at)
    assert np.allclose(smaller, sides / 2)
    assert np.array_equal(ng.window_sizes(1280, 960, True)[1], np.minimum(ng.SIZES, [1280, 960]))
    absolute = ng.window_sizes(320, 100, scaled=False)[1]
    assert absolute[:, 1].max() == 100
    assert set(absolute[:, 0]) == {16, 32, 64, 128, 256, 320}
    assert len(absolute) == 6 * 4  # a side of 256 or 512 is more than twice 100


def test_a_window_is_where_its_gradients_are() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:72, 96:128] = 255
    gradients = ng.gradient_map(image, np.array([32.0, 32.0]))
    template = np.zeros((8, 8))
    template[[0, -1]], template[:, [0, -1]] = 1, 1  # edges
    rows, columns = ng.suppress(ng.responses(gradients, template), 1)
    box = ng.window_boxes(rows, columns, gradients.shape, image.shape)
    assert iou(box, np.array([[96.0, 40, 128, 72]]))[0, 0] > 0.7


def test_the_solver_is_liblinears() -> None:
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    y = np.where(x @ rng.normal(size=6) + rng.normal(size=300) > 0.5, 1.0, -1.0)
    for c in (0.01, 1.0, 30.0):
        theirs = LinearSVC(loss="squared_hinge", dual=False, C=c, tol=1e-10, max_iter=10_000).fit(
            x, y
        )
        wanted = np.append(theirs.coef_[0], theirs.intercept_)
        assert np.allclose(training.fit_svm(x, y, c), wanted, atol=1e-6)


def test_the_template_is_the_svm_of_windows_and_mirror_images() -> None:
    x = noise(200, 64)[..., 0]
    y = np.where(x[:, 9].astype(int) + x[:, 20] > 260, 1, -1)
    both = np.concatenate([x, x.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)]) / 255
    wanted = training.fit_svm(both, np.concatenate([y, y]).astype(float), training.C1)[:-1]
    assert np.allclose(training.learn_template(x, y) * 255, wanted.reshape(8, 8), atol=1e-5)


def test_the_calibration_is_a_line_per_size() -> None:
    rng = np.random.default_rng(0)
    sizes, responses = rng.integers(0, 3, 900), rng.normal(50, 20, 900)
    hits = (responses + rng.normal(0, 5, 900) > 60) & (sizes < 2)
    used = np.arange(36) < 2
    lines = training.learn_calibration(sizes, responses, hits, used)
    assert (lines[2:] == 0).all()
    for at in (0, 1):
        v, t = lines[at]
        assert v > 0
        assert -t / v == pytest.approx(60, abs=4)  # where the line crosses 0


class Model:
    """A BING trained on 60 scenes, made once, and the scenes 1000.. that it has not seen."""

    def __init__(self, folder: Path) -> None:
        self.train = SmallSet(folder, 60)
        self.held_out = SmallSet(folder, 25, first=1000)
        source = training.Annotated(self.train, None)
        empty = ng.BingModel.empty(130, True)
        self.fit: Callable[[int], tuple[ng.BingModel, dict[str, int]]] = lambda workers: (
            training.train_bing(source, np.arange(60), empty, 0, workers, lambda n: None)
        )
        self.bing, self.counts = self.fit(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(tmp_path_factory.mktemp("bing"))


def recall(propose: Callable[[np.ndarray], np.ndarray], images: ImageSet, top: int) -> float:
    hits = total = 0
    for i in range(len(images)):
        best = iou(images.objects(i).boxes, propose(images.image(i))[:top]).max(axis=1, initial=0)
        hits, total = hits + int((best >= 0.5).sum()), total + len(best)
    return hits / total


def test_it_beats_random_boxes_on_scenes_it_has_not_seen(model: Model) -> None:
    rng = np.random.default_rng(0)

    def chance(image: np.ndarray) -> np.ndarray:
        """Windows of the same sizes anywhere."""
        height, width = image.shape[:2]
        _, sides = ng.window_sizes(width, height, True)
        size = sides[rng.integers(len(sides), size=100)]
        corner = rng.random((100, 2)) * (np.array([width, height]) - size)
        return np.hstack([corner, corner + size])

    trained = recall(lambda image: model.bing.propose(image, 1000)[0], model.held_out, 100)
    assert trained > recall(chance, model.held_out, 100) + 0.15
    assert (
        trained
        > recall(lambda image: model.bing.propose(image, 1000)[0][::-1], model.held_out, 100) + 0.3
    )


def test_boxes_are_distinct_inside_and_best_first(model: Model) -> None:
    image = draw_scene(0, 1000).image
    boxes, scores = model.bing.propose(image, 60)
    assert boxes.dtype == scores.dtype == np.float32
    assert len(np.unique(boxes, axis=0)) == len(boxes) == 60
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= image.shape[1::-1]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(scores) <= 0).all()
    more = model.bing.propose(image, 90)[0]
    assert np.array_equal(more[:60], boxes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 3), (8, 300), (20, 20), (144, 192)])
def test_small_and_flat_images_have_a_box(model: Model, shape: tuple[int, int]) -> None:
    boxes, scores = model.bing.propose(np.full((*shape, 3), 7, np.uint8), 1000)
    assert len(boxes) == len(scores) == len(np.unique(boxes, axis=0)) >= 1
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= shape[::-1]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    if min(shape) < 4:
        assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]


def test_training_does_not_depend_on_processes(model: Model) -> None:
    again, counts = model.fit(2)
    assert counts == model.counts
    assert np.array_equal(again.template, model.bing.template)
    assert np.array_equal(again.calibration, model.bing.calibration)
    assert np.array_equal(again.template, again.template[:, ::-1])


def test_a_model_is_saved_whole(model: Model, tmp_path: Path) -> None:
    model.bing.save(tmp_path / "m.npz")
    again = ng.BingModel.load(tmp_path / "m.npz")
    image = draw_scene(0, 1001).image
    for a, b in zip(again.propose(image, 50), model.bing.propose(image, 50), strict=True):
        assert np.array_equal(a, b)


def test_the_images_trained_on_are_drawn_by_id(tmp_path: Path) -> None:
    a, b = SmallSet(tmp_path, 6), SmallSet(tmp_path, 6, order=[4, 2, 0, 5, 1, 3])
    for most in (4, 100):
        drawn = [s.ids[training.choose(s, most, 7)].tolist() for s in (a, b)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn[0])) == min(most, 6)


class Bare(SmallSet):
    """A set without annotations."""

    def objects(self, index: int) -> Objects:
        raise BadData("small has no annotations")


class Empty(SmallSet):
    """A set whose images show nothing."""

    def objects(self, index: int) -> Objects:
        found = super().objects(index)
        return Objects(*(a[:0] for a in vars(found).values() if isinstance(a, np.ndarray)))


@pytest.mark.parametrize("kind", [Bare, Empty])
def test_a_set_without_boxes_is_one_line(
    tmp_path: Path, kind: type[SmallSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = kind(tmp_path, 2)
    monkeypatch.setattr(StageContext, "images", lambda self, role, split: images)
    settings = {
        "split": "train",
        "images": 2,
        "per_size": 130,
        "scale_sizes": True,
        "max_side": None,
        "seed": 0,
    }
    ctx = StageContext(
        Stage("model", "bing", 1, settings, ""),
        tmp_path,
        {},
        Runtime(home=tmp_path, database="sqlite://"),
    )
    with pytest.raises(
        BadInput, match=r"no annotated objects.*--set bing\.train_on=scenes"
    ) as caught:
        training.run(ctx)
    assert "\n" not in str(caught.value)


def planner(home: Path, *overrides: tuple[str, str]) -> Planner:
    """A cell's planner on two dozen scenes."""
    runtime = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu")
    sets = (("scenes.n_train", "24"), ("scenes.n_val", "2"), *overrides)
    return Planner(Cell("byol", "image", "coco_det", "scenes", "scenes", "tiny", 0, sets), runtime)


def make(plan: Planner) -> tuple[Stage, Path]:
    stage = plan.proposals("bing", plan.data("scenes"))
    return stage, LocalEngine(plan.runtime, Store(plan.runtime.home), Heard()).ensure(stage)


def test_the_stage_trains_and_proposes_and_says_from_what(tmp_path: Path) -> None:
    stage, folder = make(planner(tmp_path / "home", ("bing.top", "50")))
    assert stage.inputs["model"].inputs["data"] is stage.inputs["data"]
    table = engine.load_proposals(folder)
    assert len(table.at) == 24
    assert all(1 <= len(table.boxes(i)) <= 50 for i in table.at)
    info = json.loads((folder / "model.json").read_text())
    assert info["supervised"] is True
    assert (info["data"], info["split"], info["images"]) == ("scenes", "train", 24)
    assert info["boxes"] == f"{info['objects']} ground-truth boxes of scenes/train"
    assert info["objects"] > 24


def test_train_on_scenes_asks_for_scenes(tmp_path: Path) -> None:
    plan = planner(tmp_path, ("bing.train_on", "scenes"))
    other = Stage("data", "other", 1, {}, "")
    plan.runtime.roots[other.key] = tmp_path
    stage = plan.proposals("bing", other)
    assert stage.inputs["data"] is other
    assert stage.inputs["model"].inputs["data"].key == plan.data("scenes").key


def fake_model(folder: Path, weight: float = 1.0) -> Path:
    """The files of an OpenCV model, with a filter of our own."""
    folder.mkdir(parents=True)
    edges = np.full((8, 8), weight, np.float32)
    edges[2:-2, 2:-2] = -1
    sizes = np.arange(36, dtype=np.int32)[:, None]
    lines = np.tile(np.array([[1, 0]], np.float32), (36, 1))
    for space in opencv.SPACES:
        for part, matrix in (("wS1", edges), ("wS2", lines), ("idx", sizes)):
            name = f"ObjNessB2W8{space}"
            storage = cv2.FileStorage(
                str(folder / f"{name}.{part}.yml.gz"), cv2.FILE_STORAGE_WRITE
            )
            storage.write(name, matrix)
            storage.release()
    return folder


def test_opencvs_key_depends_on_the_models_content_not_on_its_path(tmp_path: Path) -> None:
    first = fake_model(tmp_path / "a")
    copied = Path(shutil.copytree(first, tmp_path / "b"))
    other = fake_model(tmp_path / "c", weight=2.0)
    stages = []
    for path in (first, copied, other):
        plan = planner(tmp_path / "home", ("bing.model", str(path)))
        stages.append(plan.proposals("bing", plan.data("scenes")))
        assert plan.runtime.roots[stages[-1].inputs["model"].key] == path
        assert str(tmp_path) not in json.dumps(
            [stages[-1].record(), stages[-1].inputs["model"].record()]
        )
    a, b, c = (s.key for s in stages)
    assert a == b != c
    plain = planner(tmp_path / "home")
    assert plain.proposals("bing", plain.data("scenes")).key not in (a, c)


def test_opencvs_stage_runs_from_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = fake_model(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    plan = planner(tmp_path / "home", ("proposals.model", str(source)), ("bing.top", "40"))
    stage, folder = make(plan)
    assert "Average time" not in "".join(capfd.readouterr())
    assert not list((tmp_path / "empty").iterdir())
    assert not [p for p in Path("/").iterdir() if p.name.startswith("BBoxes")]
    table = engine.load_proposals(folder)
    data = LocalEngine(plan.runtime, Store(plan.runtime.home), Heard()).ensure(
        stage.inputs["data"]
    )
    for image_id in sorted(table.at)[:2]:
        image = read_rgb(data / "train2017" / f"{image_id:012d}.jpg")
        assert np.array_equal(table.boxes(image_id), direct(image, source)[:40])
        assert np.array_equal(table.scores(image_id), np.linspace(1, 0, 40, dtype=np.float32))
    info = json.loads((folder / "model.json").read_text())
    assert info["supervised"] is True
    assert info["fingerprint"] == stage.inputs["model"].params["fingerprint"]


def direct(image: np.ndarray, folder: Path) -> np.ndarray:
    """OpenCV called plainly: its boxes in its order, each once, as edges."""
    search = cv2.saliency.ObjectnessBING.create()
    search.setTrainingPath(str(folder))
    search.setBBResDir("/dev/null")
    found = search.computeSaliency(np.ascontiguousarray(image[..., ::-1]))[1].reshape(-1, 4)
    seen = dict.fromkeys((x1 - 1, y1 - 1, x2, y2) for x1, y1, x2, y2 in found.tolist())
    return np.array(list(seen), np.float32)


@pytest.mark.parametrize(
    "damage", ["no folder", "a file missing", "half a file", "another space", "another part"]
)
def test_a_bad_model_folder_is_one_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    if damage != "no folder":
        fake_model(folder)
        file = folder / "ObjNessB2W8HSV.wS1.yml.gz"
        if damage == "a file missing":
            file.unlink()
        elif damage == "half a file":
            file.write_bytes(file.read_bytes()[:60])
        else:
            name = "ObjNessB2W8I.wS1" if damage == "another space" else "ObjNessB2W8HSV.wS2"
            shutil.copyfile(folder / f"{name}.yml.gz", file)
    plan = planner(tmp_path / "home", ("bing.model", str(folder)))
    with pytest.raises(BadInput, match=r"^bing\.model: ") as caught:
        plan.proposals("bing", plan.data("scenes"))
    assert "\n" not in str(caught.value)


def test_a_model_that_changes_after_planning_is_not_used(tmp_path: Path) -> None:
    source = fake_model(tmp_path / "model")
    plan = planner(tmp_path / "home", ("bing.model", str(source)))
    stage = plan.proposals("bing", plan.data("scenes"))
    shutil.rmtree(source)
    fake_model(source, weight=3.0)
    with pytest.raises(BadInput, match="changed since"):
        LocalEngine(plan.runtime, Store(plan.runtime.home), Heard()).ensure(stage)


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (8, 300), (20, 20)])
def test_opencv_has_a_box_for_small_and_flat_images(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    boxes, scores = opencv.propose_opencv(
        np.full((*shape, 3), 7, np.uint8), fake_model(tmp_path / "m"), 1000
    )
    assert len(boxes) == len(scores) >= 1
    assert (boxes[:, 2:] <= shape[::-1]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() >= 0
    if min(shape) < 8:
        assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]


class Voc(ImageSet):
    """Images of VOC2012 with their XML boxes, whose corners count from 1 and include both ends."""

    def __init__(self, root: Path, split: str, n: int) -> None:
        self.name, self.split, self.classes, self.root = "voc", split, [], root
        self.files = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:n]
        self.ids = np.arange(len(self.files))

    def file(self, index: int) -> Path:
        return self.root / "JPEGImages" / f"{self.files[index]}.jpg"

    def objects(self, index: int) -> Objects:
        tree = ElementTree.parse(self.root / "Annotations" / f"{self.files[index]}.xml")
        found = [
            [float(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax")]
            for box in tree.iter("bndbox")
        ]
        boxes = np.array(found, np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)
        no = np.zeros(len(boxes), bool)
        return Objects(boxes, no.astype(int), no, no, no.astype(float), no.astype(int))


@pytest.fixture
def voc(real_data: Path) -> Path:
    root = real_data / "VOCdevkit" / "VOC2012"
    if not root.is_dir():
        pytest.skip("no VOC2012 there")
    return root


@pytest.mark.real_data
def test_opencvs_model_recalls_what_it_is_known_to(
    voc: Path, real_data: Path, tmp_path: Path
) -> None:
    """0.43 / 0.76 / 0.97 at 10 / 100 / 1000 boxes was measured on 100 others; these are 30."""
    folder = real_data / "bing" / "ObjectnessTrainedModel"
    if not folder.is_dir():
        pytest.skip("no ObjectnessTrainedModel there")
    assert opencv.opencv_stage(str(folder), Runtime(home=tmp_path, database="sqlite://")).key
    images = Voc(voc, "val", 30)
    made = {i: opencv.propose_opencv(images.image(i), folder, 1000)[0] for i in range(len(images))}
    assert np.array_equal(made[0], direct(images.image(0), folder)[:1000])
    for top, known in ((10, 0.43), (100, 0.76), (1000, 0.97)):
        order = iter(made.values())
        assert recall(lambda image, order=order: next(order), images, top) == pytest.approx(
            known, abs=0.12
        )  # type: ignore[misc]


@pytest.mark.real_data
def test_ours_recalls_about_as_much_on_photographs(voc: Path) -> None:
    train, images = Voc(voc, "train", 60), Voc(voc, "val", 30)
    bing, _ = training.train_bing(
        training.Annotated(train, None),
        np.arange(60),
        ng.BingModel.empty(130, True),
        0,
        0,
        lambda n: None,
    )
    for top, least in ((10, 0.3), (100, 0.6), (1000, 0.8)):
        assert recall(lambda image: bing.propose(image, 1000)[0], images, top) > least

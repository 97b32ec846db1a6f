"""What a network sees: the views that a method draws with a crop strategy, after augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bench.api.request import RuntimeOptions, join_settings, make_runtime, open_progress
from bench.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor

    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.core.stage import Stage
    from bench.plan.planner import Planner

Images = int | str | Path | Iterable[int | str | Path]
FILES = "images"  # the data set that a file is


@dataclass(frozen=True, eq=False)
class View:
    """One view of one sample.

    image: the image's id. sample: the sample's number in an epoch. role: what the method calls the
    view. kind: "scene" or "object", where it came from. box: xyxy in the image, whole pixels.
    flip: whether it is mirrored. tensor: (3, S, S) float32, what the network is given, normalised
    by ImageNet's mean and standard deviation.
    """

    image: int
    sample: int
    role: str
    kind: str
    box: tuple[float, float, float, float]
    flip: bool
    tensor: Tensor

    @property
    def pixels(self) -> np.ndarray:
        """(S, S, 3) uint8 RGB: the same as a picture."""
        from bench.views.augment import MEAN, STD

        mean, std = (self.tensor.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        picture = (self.tensor * std + mean).clamp(0, 1).mul(255).round()
        array: np.ndarray = picture.byte().permute(1, 2, 0).numpy()
        return array


class Views(list[View]):
    """The views of some samples, in order; a notebook shows them as one picture."""

    def figure(self) -> Figure:
        """A row for each sample, its views side by side."""
        from bench.figures._look import new_figure

        rows: dict[tuple[int, int], list[View]] = {}
        for view in self:
            rows.setdefault((view.image, view.sample), []).append(view)
        across = max(map(len, rows.values()), default=1)
        drawn = new_figure(1.2 * across, 1.35 * max(len(rows), 1))
        axes = drawn.subplots(max(len(rows), 1), across, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for line, ((image, _), members) in zip(axes, rows.items(), strict=False):
            for axis, view in zip(line, members, strict=False):
                axis.imshow(view.pixels)
                axis.set_title(f"{image}: {view.role}", fontsize=6)
        return drawn

    def _repr_png_(self) -> bytes:
        from bench.figures._look import render

        return render(self.figure())


def views(
    method: str,
    crop: str = "image",
    images: Images = 4,
    *,
    data: str = "scenes",
    scale: str = "tiny",
    seed: int = 0,
    epoch: int = 0,
    set: Mapping[str, Any] | None = None,
    progress: bool | Progress = True,
    **runtime: Unpack[RuntimeOptions],
) -> Views:
    """The views that a training of this seed draws of some images in an epoch, to the bit.

    images: how many (evenly spaced over the training images); or ids of the data, as a list; or
    image files, of which each is a set of its own. What the crop needs (proposals, a network) is
    made and kept in the store. Raises BadInput for an id that there is not, Unsupported for a pair
    that cannot work.

    Examples:
        >>> few = {"scenes.n_train": 12, "scenes.n_val": 4}
        >>> views = bench.views("byol", "gt", images=[1], set=few, workers=0, progress=False)
        >>> [v.role for v in views][:2], views[0].pixels.shape
        (['view1', 'view2'], (48, 48, 3))
    """
    where = make_runtime(runtime)
    settings = join_settings(set)
    wanted = [images] if isinstance(images, (str, Path)) else images
    asked = _Asked(method, crop, data, scale, seed, epoch, settings)
    if isinstance(wanted, int):
        return Views(_draw(asked, None, wanted, where, progress))
    ids, files = _split(wanted)
    if files and ids:
        raise BadInput("images are ids of one data set or files, not both; try: two calls")
    if not files:
        return Views(_draw(asked, ids, 0, where, progress))
    drawn = (_draw(replace(asked, file=file), None, 1, where, progress) for file in files)
    return Views(view for views_of_file in drawn for view in views_of_file)


def _split(images: Iterable[int | str | Path]) -> tuple[list[int], list[Path]]:
    """The ids and the files."""
    ids, files = [], []
    for image in images:
        if isinstance(image, int) or (isinstance(image, str) and image.isdigit()):
            ids.append(int(image))
        else:
            files.append(Path(image))
    return ids, files


@dataclass(frozen=True)
class _Asked:
    """The arguments of `views` for one data set; `file` is the image that it consists of."""

    method: str
    crop: str
    data: str
    scale: str
    seed: int
    epoch: int
    settings: tuple[str, ...]
    file: Path | None = None


def _draw(
    asked: _Asked, ids: list[int] | None, count: int, runtime: Runtime, progress: bool | Progress
) -> list[View]:
    from bench.contracts.context import StageContext
    from bench.launch.session import open_engine

    stage = _plan(asked, runtime)
    with open_engine(runtime, open_progress(progress)) as (engine, _):
        inputs = {role: engine.ensure(child) for role, child in stage.inputs.items()}
        ctx = StageContext(stage, Path(), inputs, engine.runtime)
        images = ctx.images("data", "train")
        return _execute(ctx, images, _choose(images, ids, count), asked.epoch)


def _plan(asked: _Asked, runtime: Runtime) -> Stage:
    """The pretraining whose views they are; it is not made."""
    from bench.plan.cell import Cell
    from bench.plan.options import check_scale, match, parse_data, parse_settings
    from bench.plan.planner import plan_each

    name, path, _, named = parse_data(asked.data)
    if name is None:
        raise BadInput("data is empty; try: data='scenes'")
    [method], [crop] = match("method", asked.method), match("crop", asked.crop)
    settings = (*named, *parse_settings(asked.settings))
    cell = Cell(method, crop, "", name, name, check_scale(asked.scale), asked.seed, settings)
    paths: dict[str, Path | None] = {name: path}
    if asked.file is not None:
        if not asked.file.is_file():
            raise BadInput(f"there is no file {asked.file}; images are ids or files")
        paths[FILES] = asked.file.absolute()

    def pretrain(planner: Planner) -> Stage:
        data = planner.data(name)
        if asked.file is not None:
            planner.learn_from, data = data, planner.data(FILES)
        return planner.pretrain(method, crop, data, main=True)

    [(_, stage)] = plan_each([cell], runtime, paths, pretrain)
    return stage


def _choose(images: ImageSet, ids: list[int] | None, count: int) -> list[int]:
    """Positions of the images with these ids, or of `count` evenly spaced ones."""
    import numpy as np

    if ids is None:
        spaced = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
        return [int(at) for at in spaced]
    place = {int(image): at for at, image in enumerate(images.ids)}
    missing = [i for i in ids if i not in place]
    if missing:
        some = ", ".join(str(i) for i in images.ids[:3])
        raise BadInput(f"{images.name} has no training image {missing[0]}; ids are like {some}")
    return [place[i] for i in ids]


def _execute(ctx: StageContext, images: ImageSet, positions: list[int], epoch: int) -> list[View]:
    """The views of every sample that begins with one of the images."""
    from bench.core.seeds import rng_for
    from bench.stages.pretrain.setup import build_crop, build_method, build_viewer
    from bench.views.loader import ViewDataset

    inputs, seed = dict(ctx.inputs), ctx.seed("views")
    sampler = build_crop(ctx.params["crop"]).sampler(images, inputs)
    viewer = build_viewer(build_method(ctx.params["method"]), images, inputs)
    dataset = ViewDataset(images, sampler, viewer, seed)
    drawn: dict[int, list[View]] = {at: [] for at in positions}
    for sample in range(len(sampler)):
        sources = sampler.sources(sample, rng_for(seed, "views", epoch, sample))
        if sources[0].image in drawn:
            drawn[sources[0].image] += list(_views_of(dataset, epoch, sample, images))
    return [view for at in positions for view in drawn[at]]


def _views_of(dataset: Any, epoch: int, sample: int, images: ImageSet) -> Iterator[View]:
    import torch

    from bench.views.augment import augment

    item = dataset[epoch, sample]
    for spec, (pixels, params, box) in zip(item["sample"].views, item["views"], strict=True):
        numbers = torch.from_numpy(params)[None]
        tensor = augment(pixels[None], numbers)[0]
        image = int(images.ids[spec.image])
        place = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        yield View(image, sample, spec.role, spec.kind, place, bool(params[0] > 0), tensor)

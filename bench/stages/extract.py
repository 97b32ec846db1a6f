"""Extracting features: a frozen backbone over batches of whole images, written row by row.

`bench.stages.features` declares the stage that runs this and reads what it leaves.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import StageFailed
from bench.core.files import write_json
from bench.core.processes import start_worker
from bench.data.preprocess import Normaliser, Transform
from bench.stages.pretrain.setup import Device, pick_device, step_threads

BATCH = 64  # images a forward; part of what a resumed stage must repeat, so not a setting
HEADER = 128  # bytes before the numbers of a .npy file


class Shown(Dataset[Tensor]):
    """What the backbone is shown: batches (b, s, s, 3) uint8, each written into the next of
    `places`."""

    def __init__(self, images: ImageSet, transform: Transform, places: Sequence[Tensor]) -> None:
        self.images, self.transform, self.places = images, transform, places

    def __getitems__(self, batch: range) -> Tensor:
        place = self.places[batch.start // BATCH % len(self.places)][: len(batch)]
        for at, index in enumerate(batch):
            place[at] = self.transform(self.images.image(index)).permute(1, 2, 0)
        return place


def batches(
    images: ImageSet, transform: Transform, start: int = 0, workers: int = 0, pin: bool = False
) -> Iterator[Tensor]:
    """(b, 3, s, s) uint8 batches of `BATCH` images from position `start` on, decoded in `workers`
    processes; channels-last, which is how the pixels come and what the convolutions want.

    A batch is overwritten after the next one is asked for: all lie in memory that is taken once
    and shared with the processes, since taking it anew for each batch costs as much as half of the
    resizing.
    """
    ahead = 2  # batches asked of each worker before they are needed
    shape = (BATCH, transform.size, transform.size, 3)
    places = [torch.empty(shape, dtype=torch.uint8) for _ in range(ahead * workers + 1)]
    for place in places if workers else ():
        place.share_memory_()
    groups = [range(i, min(i + BATCH, len(images))) for i in range(start, len(images), BATCH)]
    loaded = DataLoader(
        Shown(images, transform, places),
        batch_sampler=groups,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pin,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        worker_init_fn=start_worker if workers else None,
        prefetch_factor=ahead if workers else None,
    )
    for batch in loaded:
        yield batch.permute(0, 3, 1, 2)


def _as_it_is(batch: Tensor) -> Tensor:
    return batch


class Extractor:
    """A frozen backbone that turns uint8 images into pooled layers."""

    def __init__(
        self,
        backbone: nn.Module,
        layers: Sequence[str],
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self.layers, self.device, self.bf16 = tuple(layers), device, precision == "bf16"
        frozen = backbone.eval().requires_grad_(False)
        self.backbone = frozen.to(device).to(memory_format=torch.channels_last)
        self.normalise = Normaliser(device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, s, s) uint8, or float32 normalised already -> float32 (B, D) per layer."""
        from bench.nn.layers import layer_features

        if images.dtype == torch.uint8:
            x = self.normalise(images)
        else:
            x = images.to(self.device, non_blocking=True).contiguous(
                memory_format=torch.channels_last
            )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            features = layer_features(self.backbone, x, self.layers)
        return {name: f.float() for name, f in features.items()}


def load_extractor(
    folder: Path, name: str, layers: Sequence[str], device: Device, precision: str
) -> Extractor:
    """The extractor of the backbone file in the stage folder; every tensor must match."""
    from bench.nn.backbones import build_backbone, load_backbone

    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(name)
    load_backbone(folder / "backbone.pth", backbone)
    return Extractor(backbone, layers, torch.device(device.kind), precision)


def extract_features(ctx: StageContext) -> None:
    """The runner's work; a killed stage goes on from the rows that are safely on disk."""
    p = ctx.params
    images = ctx.images("data", str(p["split"]))
    device = pick_device(ctx.runtime.devices)
    threads = torch.get_num_threads()
    torch.set_num_threads(step_threads(ctx, device))
    try:
        extract = load_extractor(
            ctx.inputs["backbone"],
            str(p["backbone"]),
            list(p["layers"]),
            device,
            str(p["precision"]),
        )
        seconds = _extract(ctx, images, Transform(**p["transform"]), extract)
    finally:
        torch.set_num_threads(threads)
    np.save(ctx.work / "ids.npy", np.asarray(images.ids, np.int64))
    write_json(
        ctx.work / "info.json",
        {"images": len(images), "layers": list(p["layers"]), "seconds": seconds},
    )


def _extract(
    ctx: StageContext, images: ImageSet, transform: Transform, extract: Extractor
) -> float:
    start, began = rows_done(ctx.scratch, len(images)), time.monotonic()
    advance = ctx.progress.task(f"features {ctx.params['split']}", len(images), start)
    files: dict[str, BinaryIO] = {}
    saved, done = began, start
    try:
        loaded = batches(
            images, transform, start, ctx.runtime.workers, extract.device.type == "cuda"
        )
        for shown in loaded:
            for name, rows in extract(shown).items():
                if not bool(torch.isfinite(rows).all()):
                    raise StageFailed(
                        f"{ctx.stage}: the features of {name} are not finite; "
                        "was the training sound?"
                    )
                if name not in files:
                    files[name] = open_rows(
                        ctx.work / f"{name}.npy", len(images), rows.shape[1], done
                    )
                files[name].write(rows.cpu().numpy().tobytes())
            done += len(shown)
            advance(len(shown))
            if time.monotonic() - saved >= ctx.runtime.checkpoint_seconds:
                _mark(ctx.scratch, files, done)
                saved = time.monotonic()
        _mark(ctx.scratch, files, done)
    finally:
        for file in files.values():
            file.close()
    return time.monotonic() - began


def open_rows(path: Path, n: int, width: int, start: int) -> BinaryIO:
    """The .npy file of an (n, width) float32 array, cut off after row `start`, ready for what
    follows."""
    header = np.lib.format.magic(1, 0)
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {width}), }}".encode()
    text += b" " * (HEADER - len(header) - 2 - len(text) - 1) + b"\n"
    file = open(path, "r+b" if start else "w+b")  # noqa: SIM115, the caller closes it
    if not start:
        file.write(header + len(text).to_bytes(2, "little") + text)
    file.truncate(HEADER + 4 * start * width)
    file.seek(0, os.SEEK_END)
    return file


def _mark(scratch: Path, files: dict[str, BinaryIO], done: int) -> None:
    """Note how many rows of every file are on disk."""
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
    write_json(scratch / "rows.json", {"rows": done})


def rows_done(scratch: Path, n: int) -> int:
    """Rows an earlier try left: whole batches, or all of them."""
    try:
        rows = int(json.loads((scratch / "rows.json").read_text())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return rows if rows == n or (0 <= rows < n and rows % BATCH == 0) else 0

"""The proposals stage: any generator over a split, in parallel processes, one file keyed by image
id."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.proposals import Found, Proposals, Proposer
from bench.core.errors import BadData
from bench.core.files import write_bytes, write_json
from bench.core.processes import parallel
from bench.core.ragged import Ragged, offsets
from bench.core.seeds import seed_for
from bench.data.boxes import filter_boxes, scaled_side
from bench.stages.pretrain.setup import pick_device

CHUNK = 64  # images between two points from which a killed stage goes on


@dataclass(frozen=True)
class _Job:
    """One image's proposals, in any process."""

    proposer: Proposer
    ids: np.ndarray
    seed: int

    def __call__(self, index: int) -> Found:
        number = seed_for(self.seed, "proposals", int(self.ids[index]))
        boxes, scores = self.proposer(index, number)
        return boxes.astype(np.float32).reshape(-1, 4), scores.astype(np.float32)


def run(ctx: StageContext) -> None:
    """Leaves `proposals.npz` (image_ids, first, boxes, scores) and `info.json`."""
    identity = ctx.params["proposals"]
    maker = cast(
        Proposals,
        registry.load("proposals", identity["name"]).from_identity(dict(identity["params"])),
    )
    images = ctx.images("data", str(ctx.params["split"]))
    start = time.monotonic()
    done = _finished(ctx.scratch)
    advance = ctx.progress.task(f"proposals {maker.name}", len(images), len(done))
    job = _Job(maker.prepare(ctx, images), images.ids, int(ctx.params["seed"]))
    workers = (
        0
        if maker.on_device and pick_device(ctx.runtime.devices).kind != "cpu"
        else ctx.runtime.workers
    )
    todo = list(range(len(done), len(images)))
    chunk: list[Found] = []
    with _one_thread():
        # One image at a time: images differ in cost, and results are small.
        for proposed in parallel(job, todo, workers, 1):
            chunk.append(proposed)
            advance(1)
            if len(chunk) == CHUNK:
                _append(ctx.scratch, len(done), chunk)
                done, chunk = done + chunk, []
    done += chunk
    _write(ctx.work, images.ids, done)
    info = {
        "proposals": dict(identity),
        "seed": ctx.params["seed"],
        "images": len(images),
        "boxes": int(sum(len(b) for b, _ in done)),
        "seconds_per_image_made": (time.monotonic() - start) / max(len(todo), 1),
    }
    write_json(ctx.work / "info.json", info)


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch computes as it does in a worker process: the number of threads changes the last
    digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunk_file(scratch: Path, first: int) -> Path:
    return scratch / f"chunk-{first:09d}.npz"


def _append(scratch: Path, first: int, chunk: list[Found]) -> None:
    content = io.BytesIO()
    np.savez(content, **_join(chunk))
    write_bytes(_chunk_file(scratch, first), content.getvalue())


def _finished(scratch: Path) -> list[Found]:
    """What earlier tries left, as far as it is whole."""
    done: list[Found] = []
    while (file := _chunk_file(scratch, len(done))).exists():
        try:
            done += _read_chunk(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # torn: made again
            break
    return done


def _read_chunk(file: Path) -> list[Found]:
    with np.load(file, allow_pickle=False) as arrays:
        boxes, scores, first = (arrays[name] for name in ("boxes", "scores", "first"))
    if not (len(first) > 1 and first[0] == 0 and (np.diff(first) >= 0).all()):
        raise ValueError(f"{file} delimits no images")
    if boxes.shape != (first[-1], 4) or scores.shape != (first[-1],):
        raise ValueError(f"{file} holds {boxes.shape} boxes of {first[-1]}")
    return [(boxes[a:b], scores[a:b]) for a, b in pairwise(first)]


def _join(chunks: list[Found]) -> dict[str, Any]:
    return {
        "first": offsets(len(b) for b, _ in chunks),
        "boxes": np.concatenate([b for b, _ in chunks]).reshape(-1, 4),
        "scores": np.concatenate([s for _, s in chunks]),
    }


def _write(folder: Path, ids: np.ndarray, chunks: list[Found]) -> None:
    np.savez(folder / "proposals.npz", image_ids=np.asarray(ids, np.int64), **_join(chunks))


class ProposalTable:
    """Boxes by image id."""

    def __init__(
        self, ids: np.ndarray, first: np.ndarray, boxes: np.ndarray, scores: np.ndarray
    ) -> None:
        self.at = {int(image): i for i, image in enumerate(ids)}
        self._boxes, self._scores = Ragged(boxes, first), Ragged(scores, first)

    def _row(self, image_id: int) -> int:
        try:
            return self.at[int(image_id)]
        except KeyError:
            raise BadData(
                f"no proposals for image {image_id}; run the same command with --force"
            ) from None

    def boxes(self, image_id: int) -> np.ndarray:
        """(n, 4) float32 xyxy of the image, best first."""
        return self._boxes[self._row(image_id)]

    def scores(self, image_id: int) -> np.ndarray:
        """(n,) float32."""
        return self._scores[self._row(image_id)]


def load_proposals(folder: Path) -> ProposalTable:
    """The table of a committed proposals stage."""
    with np.load(folder / "proposals.npz") as file:
        return ProposalTable(file["image_ids"], file["first"], file["boxes"], file["scores"])


def filter_proposals(ctx: StageContext, images: ImageSet) -> list[np.ndarray]:
    """The boxes of every image that `bench.data.boxes.filter_boxes` keeps of the input stage
    "proposals", with the stage's `min_side`, `pixels` (the rule of `bench.data.boxes.scaled_side`;
    "scaled" where a stage has none), `max_ratio`, `nms` and `top`: a list of (n, 4) float32 xyxy,
    n >= 1."""
    table, p = load_proposals(ctx.inputs["proposals"]), ctx.params
    kept = []
    for image, (width, height) in zip(images.ids, images.sizes, strict=True):
        size = (int(width), int(height))
        least = scaled_side(float(p["min_side"]), *size, p.get("pixels", "scaled"))
        ratio, overlap, top = float(p["max_ratio"]), float(p["nms"]), int(p["top"])
        kept.append(filter_boxes(table.boxes(int(image)), least, ratio, overlap, top, size))
    return kept


def proposals_info(folder: Path) -> dict[str, Any]:
    """The generator, its settings, seed and counts."""
    info: dict[str, Any] = json.loads((folder / "info.json").read_text())
    return info

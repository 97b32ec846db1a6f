"""The low-shot experiment: every (k, sample, class, cost), resumable, and the two ways to choose a
cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict
from zipfile import BadZipFile

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.task import Scored
from bench.core.errors import BadInput
from bench.core.files import write_atomically
from bench.data.semantic import image_labels
from tasks._frozen.protocol import Solver
from tasks._frozen.rows import Kernel, prepare
from tasks._frozen.svm import draw_sample, pick_by_cv, train_shot
from tasks._shared.counted import Counted, load_kept, mean_ap
from tasks._shared.ranking import ApKind, class_ap


@dataclass
class Experiment:
    """labels: (N, K), truth: (M, K), of `image_labels`. After `run`: ap (k, sample, cost), the
    mean AP over classes on the test set, and cv (k, sample, cost), the same on held-out folds of
    the sample; in [0, 1]."""

    labels: np.ndarray
    truth: np.ndarray
    ks: tuple[int, ...]
    seeds: tuple[int, ...]
    costs: np.ndarray
    kind: ApKind
    ap: np.ndarray = field(init=False)
    cv: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if (
            not self.ks
            or not self.seeds
            or min(self.ks) < 1
            or len(set(self.ks)) < len(self.ks)
            or max(self.ks) < 2
        ):
            raise BadInput(
                "ks are different numbers, one of them above 1 (k = 1 cannot choose a cost), "
                f"and there is at least one seed; got ks {self.ks} and seeds {self.seeds}; "
                "try: --set ks=1,2,4"
            )
        self.ks = tuple(sorted(self.ks))
        self.ap = np.zeros((len(self.ks), len(self.seeds), len(self.costs)))
        self.cv = np.zeros_like(self.ap)

    def run(
        self,
        ctx: StageContext,
        train: np.ndarray,
        test: np.ndarray,
        ids: np.ndarray,
        solver: Solver,
    ) -> None:
        """Train and score every sample; leaves `samples.npz`: rows (S, 5) of k, seed, class, image
        id, sign."""
        samples = {(k, s): draw_sample(self.labels, k, s) for k in self.ks for s in self.seeds}
        np.savez_compressed(
            ctx.work / "samples.npz",
            rows=np.concatenate([_list_sample(*a, b, ids) for a, b in samples.items()]),
        )
        kernel, rows = Kernel(train), prepare(test)
        advance = ctx.progress.task("low-shot samples", len(samples))
        for (k, seed), sample in samples.items():
            at = self.ks.index(k), self.seeds.index(seed)
            file = _scratch_file(ctx, k, seed)
            curves = _load_saved(file, len(self.costs))
            if curves is None:
                shot = train_shot(kernel, rows, sample, self.costs, solver)
                ap = [
                    float(np.nanmean(class_ap(self.truth, scores, self.kind)))
                    for scores in shot.scores
                ]
                curves = np.stack([ap, shot.cv.mean(1)])
                # k = 1 takes the cost of another k, so all of its scores may be needed
                chosen = slice(None) if np.isnan(curves[1]).any() else [int(curves[1].argmax())]
                with write_atomically(file) as partial, open(partial, "wb") as out:
                    np.savez(out, curves=curves, scores=shot.scores[chosen])
            self.ap[at], self.cv[at] = curves
            advance(1)

    def pick_costs(self) -> np.ndarray:
        """(k, sample): the position of the cost that cross-validation chooses."""
        samples = range(len(self.seeds))
        return np.array([pick_by_cv(list(self.cv[:, s])) for s in samples], np.int64).T

    def keep_scores(self, ctx: StageContext) -> None:
        """Leave `scores.npz`: for each k an array (sample, M, K), the test scores at the cost that
        cross-validation chose."""
        picks, kept = self.pick_costs(), {}
        for i, k in enumerate(self.ks):
            parts = []
            for s, seed in enumerate(self.seeds):
                with np.load(_scratch_file(ctx, k, seed)) as file:
                    scores = file["scores"]
                    parts.append(scores[picks[i, s] if len(scores) > 1 else 0])
            kept[f"k{k}"] = np.stack(parts)
        np.savez(ctx.work / "scores.npz", **kept)  # type: ignore[arg-type]


def rescore_lowshot(ctx: StageContext, kind: ApKind) -> Scored:
    """mAP_k of every k of a finished evaluation whose costs cross-validation chose, and their
    mean, as functions of how often each test image counts."""
    images = ctx.images("data", "val")
    truth, metrics = image_labels(images), {}
    with load_kept(ctx.work, "scores.npz") as file:
        for name in file.files:
            metrics[f"mAP_{name}"] = _mean([mean_ap(truth, each, kind) for each in file[name]])
    return Scored(images.ids, {**metrics, "mAP": _mean(list(metrics.values()))})


def _mean(metrics: Sequence[Counted]) -> Counted:
    return lambda counts: float(np.mean([metric(counts) for metric in metrics]))


def _scratch_file(ctx: StageContext, k: int, seed: int) -> Path:
    return ctx.scratch / f"k{k}-seed{seed}.npz"


def _list_sample(k: int, seed: int, sample: np.ndarray, ids: np.ndarray) -> np.ndarray:
    image, c = np.nonzero(sample)
    return np.stack(
        [np.full(len(c), k), np.full(len(c), seed), c, np.asarray(ids)[image], sample[image, c]], 1
    )


def _load_saved(file: Path, n: int) -> np.ndarray | None:
    """(2, costs): AP and cross-validation; None where they were not saved whole."""
    try:
        with np.load(file) as saved:
            curves: np.ndarray = saved["curves"]
            return curves if curves.shape == (2, n) and "scores" in saved else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


class ShotReport(TypedDict):
    """What per_k.json says of one k: mAP in percent of each sample by either way to choose a cost,
    and the costs."""

    seeds: list[int]
    cv: list[float]
    test: list[float]
    cv_costs: list[float]
    test_cost: float


def summarise(e: Experiment, selection: str) -> tuple[dict[str, float], dict[str, ShotReport]]:
    """Metrics in percent, and per k the figures of every sample with the costs chosen."""
    picks = e.pick_costs()
    metrics: dict[str, float] = {}
    table: dict[str, ShotReport] = {}
    for i, k in enumerate(e.ks):
        # one cost for all classes and samples, by the test set
        best = int(e.ap[i].mean(0).argmax())
        on_test = 100 * e.ap[i, :, best]
        by_cv = np.array([100 * e.ap[i, s, picks[i, s]] for s in range(len(e.seeds))])
        metrics[f"mAP_k{k}"] = float((on_test if selection == "test" else by_cv).mean())
        metrics[f"mAP_k{k}_test_cost"] = float(on_test.mean())
        table[str(k)] = {
            "seeds": list(e.seeds),
            "cv": by_cv.tolist(),
            "test": on_test.tolist(),
            "cv_costs": [float(e.costs[picks[i, s]]) for s in range(len(e.seeds))],
            "test_cost": float(e.costs[best]),
        }
    metrics["mAP"] = float(np.mean([metrics[f"mAP_k{k}"] for k in e.ks]))
    return metrics, table

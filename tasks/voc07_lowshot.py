"""VOC 2007 classification with linear SVMs on a few images a class, k = 1 to 96, mean of five
samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.params import param
from bench.data.preprocess import Transform
from tasks._frozen.features import feature_stages, load_split
from tasks._frozen.protocol import SvmParams, check_solver

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)


class LowshotParams(SvmParams):
    """The samples, and how a cost is chosen."""

    ks: tuple[int, ...] = param(
        SHOTS,
        help="Positive images of a class; k=1 takes the cost of the next k, so another is needed",
    )
    seeds: tuple[int, ...] = param((0, 1, 2, 3, 4), help="Seeds of the samples, one for each")
    cost_selection: Literal["cv", "test"] = param(
        "cv",
        help="How a cost is chosen: cv on the sample itself; test as published, on the test set",
    )


class Voc07Lowshot(Task):
    """Low-shot linear SVMs, trainval to test: paper 002 Table 2 (Goyal et al. 2019).

    Features, SVM and AP as `voc07_svm`. For every class by itself k positives and 19 k negatives
    (classes - 1 times k) are drawn from trainval; images with the class only as difficult objects
    are never drawn, and left out at test. Samples are drawn with published seeds (the papers' are
    unseeded) and written to `samples.npz`.

    The published code takes, per k, the cost with the best mean *test* mAP: an optimistic figure,
    always reported as `mAP_k<k>_test_cost`. By default `mAP_k<k>` takes a cost per sample by
    cross-validation on the sample (min(3, k) folds, mean over classes; k = 1 takes the next k's).
    `mAP` is the mean over k.
    """

    Params = LowshotParams
    params: LowshotParams
    headline = "mAP"
    metrics = {
        "mAP": "mean over k of mAP_k, percent",
        **{
            f"mAP_k{k}": f"mAP with {k} positives a class, mean of the samples, percent"
            for k in SHOTS
        },
        **{
            f"mAP_k{k}_test_cost": f"the same, cost chosen on the test set, k = {k}, percent"
            for k in SHOTS
        },
    }
    data = {"tiny": "scenes", "": "voc2007"}
    scales = {
        "tiny": {
            "image_size": 96,
            "resize": 110,
            "ks": (1, 2, 4, 8),
            "seeds": (0, 1),
            "powers": (4, 10),
        },
        "small": {"image_size": 128, "resize": 146},
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from tasks._frozen.speed import lowshot

        return lowshot

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        p = self.params
        check_solver(p.solver)
        transform = Transform("squash", p.resize, p.image_size)
        return feature_stages(
            backbone, data, transform, sorted({"res5", "gap", p.layer}), p.precision
        )

    def run(self, ctx: StageContext) -> dict[str, float]:
        from bench.data.semantic import image_labels
        from tasks._frozen.lowshot import Experiment, summarise

        p = self.params
        train, val = (load_split(ctx, split, p.layer) for split in ("train", "val"))
        experiment = Experiment(
            image_labels(train.images),
            image_labels(val.images),
            p.ks,
            p.seeds,
            p.all_costs(),
            p.ap,
        )
        experiment.run(ctx, train.features, val.features, train.images.ids, p.solver)
        experiment.keep_scores(ctx)
        metrics, table = summarise(experiment, p.cost_selection)
        write_json(ctx.work / "per_k.json", table)
        return metrics

    def rescore(self, ctx: StageContext) -> Scored:
        if self.params.cost_selection == "test":
            raise BadInput(
                "costs that were chosen on the test images depend on how often each counts; try: "
                f"--set {self.name}.cost_selection=cv"
            )
        from tasks._frozen.lowshot import rescore_lowshot

        return rescore_lowshot(ctx, self.params.ap)

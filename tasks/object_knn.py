"""Retrieval of objects by ground-truth box: how many of the k nearest have the same class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task, TaskParams
from bench.core.errors import BadInput
from bench.core.params import param

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

KS = (1, 5, 10, 20, 50, 100)


class ObjectKnnParams(TaskParams):
    """The paper gives neither input size nor pooling; ours are the detection protocol's."""

    features: Literal["pooled", "crop", "embedding"] = param(
        "pooled",
        help="pooled is the mean of the last map inside the box, crop the backbone's output on "
        "the box cut out, embedding the method's own embedding of a box",
        search=["pooled", "crop"],
    )
    size: int = param(
        800, ge=16, help="Short side of the image, or side of a box that is cut out, pixels"
    )
    max_size: int = param(1333, ge=16, help="Longest side that an image may have, pixels")
    split: str = param("val", help="Split whose objects are both the queries and the answers")
    min_side: int = param(
        2, ge=1, help="Shortest side, in pixels of the file, of the objects that are used"
    )


class ObjectKnn(Task):
    """kNN recall of paper 003, Table 9 (CCOP on COCO val: 48.1 % at k = 1 from pooled features,
    50.1 % from box embeddings; 28.3 % and 30.5 % at k = 100).

    For each object of the split (no crowds, no difficult ones): the k others with the largest
    cosine similarity; the share of them with its class, averaged over objects, in percent.
    `chance` is the share that random answers have: mean over objects of (n_c - 1) / (n - 1), n_c
    the objects of its class. A k that is not smaller than the number of objects is left out.
    Answers may lie in the query's own image, as the paper's may. Nothing is trained. At `tiny`,
    boxes are cut out: the last map of its networks is too coarse for small objects.
    """

    Params = ObjectKnnParams
    params: ObjectKnnParams
    headline = "recall_k1"
    metrics = {
        **{
            f"recall_k{k}": f"share of the {k} nearest objects of the same class, percent"
            for k in KS
        },
        "chance": "the same share for random answers, percent",
    }
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {"features": "crop", "size": 48},
        "small": {"size": 480, "max_size": 800},
    }

    @classmethod
    def figures(cls) -> dict[str, str]:
        return {"embedding": "tasks._shared.retrieval_figure:run"}

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=(params.split,), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        inputs = super().stages(plan, backbone, data)
        if self.params.features != "embedding":
            return inputs
        from bench.contracts import registry

        if not registry.load("method", backbone.name).embeds_boxes:  # type: ignore[attr-defined]
            raise BadInput(
                f"{backbone.name} has no embedding of boxes, which features=embedding asks for; "
                f"try: --set {self.name}.features=pooled"
            )
        return {**inputs, "learned_from": backbone.inputs["data"]}

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._shared.retrieval import extract_object_features, measure_shares, save

        features, table = extract_object_features(ctx, self.params)
        shares = measure_shares(features, table["label"], KS)
        save(ctx, features, table, shares)
        return shares.recalls()

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._shared.retrieval import rescore_objects

        return rescore_objects(ctx, self.params.split)

"""Our-Crop: coarse object boxes where a network's activations are high (paper 000)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.picture import overlay_heat
from methods.crops._pseudo import ProposalCrop

if TYPE_CHECKING:
    from bench.core.stage import Stage


class Coarse(ProposalCrop):
    """The 5 anchors of highest mean activation (paper 000, section 4: Our-Crop, N = 5).

    `methods/proposals/anchors_scda/` scores them; its settings (`--set anchors_scda.gamma=0`)
    say how. Fewer than `n_crops` anchors that survive suppression are kept as they are; a constant
    map or an image smaller than the smallest anchor gives the image.
    """

    source = "anchors_scda"
    sweeps = ("n_crops",)  # paper 000's N

    def inspect(
        self,
        images: ImageSet,
        index: int,
        stages: dict[str, Stage],
        folder: Callable[[Stage], Path],
    ) -> dict[str, np.ndarray]:
        from bench.stages.pretrain.setup import load_network
        from methods.proposals.anchors_scda.params import AnchorsScdaParams
        from methods.proposals.anchors_scda.scoring import score_map

        regions = stages["regions"]
        source = regions.inputs["network"]
        network = load_network(folder(source), source.params, len(images))
        image = images.image(index)
        low, _ = score_map(
            network.backbone, image, AnchorsScdaParams(**regions.params["proposals"]["params"])
        )
        return {"score map": overlay_heat(image, low)}

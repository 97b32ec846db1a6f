"""Weights for networks that timm builds: on this machine or in a file, under timm's names.

Nothing is downloaded: timm's own weights are taken where a download has left them.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import BadInput, brief
from bench.nn.checkpoint import Flat
from bench.nn.formats import check_finite, check_fit, fill_counters
from bench.nn.found import Found, choose_prefix, place_of
from bench.nn.timm_names import create, parse_timm
from bench.nn.timm_net import set_normalisation
from bench.views.augment import MEAN, STD

# What other libraries call a tensor that every such network has, where timm's filter renames it.
FOREIGN = {
    "convnext": ("downsample_layers.0.0.weight",),
    "vision_transformer": ("visual.class_embedding", "visual.trunk.patch_embed.proj.weight"),
    "byobnet": ("visual.conv1.weight",),
}
HUB_FILES = (
    *("model.safetensors", "pytorch_model.bin"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
Normalisation = tuple[list[float], list[float]]  # mean and deviation of red, green and blue
IMAGENET: Normalisation = (list(MEAN), list(STD))


def find_cached(name: str) -> Path:
    """The file that timm's download left on this machine; BadInput says how to get it."""
    import timm

    model = parse_timm(name).model
    cfg = timm.get_pretrained_cfg(model)
    if cfg is None or not cfg.has_weights:
        raise BadInput(
            f"timm has no weights of {model}; try: --backbone timm:{model}=FILE, or with a method"
        )
    tagged = f"{model.partition('.')[0]}.{cfg.tag}" if cfg.tag else model
    file = _find_in_hub(cfg, tagged) or _find_in_torch(cfg)
    if file is None:
        raise BadInput(
            f"the weights of {tagged} are not on this machine, and bench downloads nothing; where "
            f"the network is, run: python -c \"import timm; timm.create_model('{tagged}', "
            f'pretrained=True)"; or give a file: --backbone timm:{model}=FILE'
        )
    return file


def _find_in_hub(cfg: Any, tagged: str) -> Path | None:
    if not cfg.hf_hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = str(cfg.hf_hub_id).partition("@")
    if repository.endswith("/"):
        repository += tagged
    names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else HUB_FILES
    for file in names:
        path = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(path, str):
            return Path(path)
    return None


def _find_in_torch(cfg: Any) -> Path | None:
    if not cfg.url:
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / str(cfg.url).rpartition("/")[2]
    return path if path.is_file() else None


def fit_timm(
    flat: Flat, name: str, source: str, normalisation: Normalisation | None = None
) -> Found:
    """The tensors of a checkpoint under the names of timm's network `name`, all of them.

    A prefix is found as in `bench.nn.weights`; timm's own filter renames other authors' layouts.
    normalisation: of the pixels that the weights expect; by default that of timm's configuration.
    Raises BadInput where a tensor is missing, too much or of another shape.
    """
    with torch.device("meta"):
        network: Any = create(name)
    module = type(network).__module__.rpartition(".")[2]
    own = network.state_dict()
    prefixes = _find_prefixes(flat, own, FOREIGN.get(module, ()))
    if not prefixes:
        shown = ", ".join(repr(k) for k in list(flat)[:3])
        raise BadInput(
            f"{source} does not hold {name.removeprefix('timm:')}: its keys are like {shown}; "
            f"expected {next(iter(own))!r}"
        )
    prefix = choose_prefix(flat, prefixes, lambda p: take_below(flat, p), source)
    given = take_below(flat, prefix)
    renamed = _filter(network, given, name, source)
    state, left = _drop_heads(renamed, own, network.pretrained_cfg)
    whole = fill_counters(own, state)
    check_fit(own, whole, f"{source} ({name})")
    check_finite(whole, f"{source} ({name})")
    named = {f"net.{key}": value.float() for key, value in whole.items()}
    cfg = network.pretrained_cfg
    set_normalisation(named, *(normalisation or (list(cfg["mean"]), list(cfg["std"]))))
    outside = Counter(place_of(key, prefix) for key in flat if not key.startswith(prefix))
    outside.update(prefix + place for place in left)
    return Found(name, prefix, named, len(whole) - len(state), dict(outside), added=2)


def _find_prefixes(flat: Flat, own: Flat, foreign: tuple[str, ...]) -> list[str]:
    """Where the network may lie: below a prefix that leads to most of its keys, or to a key of
    another author."""
    counts: Counter[str] = Counter()
    for key in flat:
        words = key.split(".")
        for at in range(len(words)):
            if ".".join(words[at:]) in own:
                counts["".join(f"{word}." for word in words[:at])] += 1
    most = max(counts.values(), default=0)
    prefixes = [prefix for prefix, count in counts.items() if 2 * count > most]
    ends = [(key, end) for key in flat for end in foreign if f".{key}".endswith(f".{end}")]
    theirs = [key.removesuffix(end) for key, end in ends]
    return theirs or prefixes


def take_below(flat: Flat, prefix: str) -> Flat:
    """The tensors under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}


def _filter(network: Any, given: Flat, name: str, source: str) -> Flat:
    """The tensors after timm's filter; BadInput where it would resample a position table."""
    module = sys.modules[type(network).__module__]
    convert: Callable[[Flat, Any], Flat] | None = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return given
    places = given.get("pos_embed", given.get("visual.positional_embedding"))
    try:
        renamed = convert(dict(given), network)
    except Exception as error:  # timm's filters expect whole checkpoints of their authors
        reason = brief(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(
            f"{source} is no checkpoint of {name.removeprefix('timm:')} ({reason}); is it another "
            "network?"
        ) from None
    if places is not None and "pos_embed" in renamed:
        _check_places(network, int(places.shape[-2]), name, source)
    return renamed


def _check_places(network: Any, count: int, name: str, source: str) -> None:
    """BadInput where a table of `count` positions is of another grid than the network's: timm's
    filter resamples it, and so would each forward pass again."""
    extra = (0, 1, network.num_prefix_tokens)
    grids = [math.isqrt(count - n) for n in extra if math.isqrt(count - n) ** 2 == count - n]
    patch, wanted = network.patch_embed.patch_size[0], network.patch_embed.img_size[0]
    if grids and all(grid * patch != wanted for grid in grids):
        side = grids[0] * patch
        raise BadInput(
            f"{source} has positions for images of {side} pixels, {name} for {wanted}; try: "
            f"--backbone {name},img_size={side}={source}"
        )


def _drop_heads(state: Flat, own: Flat, cfg: Any) -> tuple[Flat, list[str]]:
    """The tensors without the classifier and without what begins with words that the network does
    not have (projectors, queues, decoders), and the places of those."""
    heads = cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    words = {key.partition(".")[0] for key in own}
    kept: Flat = {}
    left: list[str] = []
    for key, value in state.items():
        classifier = key not in own and key.startswith(tuple(f"{h}." for h in heads))
        if classifier or key.partition(".")[0] not in words:
            left.append(key.rpartition(".")[0] or key)
        else:
            kept[key] = value
    return kept, left

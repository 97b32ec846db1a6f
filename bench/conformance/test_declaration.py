"""Every component of every kind goes through this suite; a new file needs no edit here."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from bench.conformance.support import chosen
from bench.contracts import registry
from bench.contracts.component import SCALES, Component
from bench.contracts.data import HowToGet
from bench.core.params import Params, canonical

EVERY = chosen()
IDS = [f"{kind}-{name}" for kind, name in EVERY]


@pytest.fixture(params=EVERY, ids=IDS)
def component(request: pytest.FixtureRequest) -> type[Component]:
    return registry.load(*request.param)


def test_name_summary_and_source(component: type[Component]) -> None:
    entry = registry.entry(component.kind, component.name)
    stem = entry.file.parent.name if entry.file.name == "__init__.py" else entry.file.stem
    assert component.name == stem
    assert 10 <= len(entry.summary) <= 120, "the first docstring line is what `bench list` prints"
    assert re.fullmatch(r"[a-z0-9_]+", component.name)
    assert component.version >= 1
    assert (component.__doc__ or "").strip(), (
        "the class says what it computes and where it comes from"
    )


def test_params_are_frozen_strict_documented_and_canonical(component: type[Component]) -> None:
    assert issubclass(component.Params, Params)
    params = component.Params()
    canonical(params.identity())
    assert component.Params(**params.model_dump()) == params
    with pytest.raises(ValueError, match="no_such_setting"):
        component.Params(no_such_setting=1)  # type: ignore[call-arg]
    own = set(component.Params.model_fields)
    silent = [n for n in own if not (component.Params.model_fields[n].description or n in _PLAIN)]
    assert not silent, f"say what these settings mean: {silent}"


# names that say it themselves
_PLAIN = {"optimizer", "momentum", "weight_decay", "precision", "seed"}


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_resolves_to_valid_settings(component: type[Component], scale: str) -> None:
    made = component.resolve(scale)
    again = component.from_identity(made.identity()["params"])
    assert again.params == made.params
    assert set(component.scales) <= set(SCALES)


def test_paper_scale_is_the_defaults(component: type[Component]) -> None:
    """But for settings that were added later: their default is what every earlier result had, so
    that it stays out of keys, and `scales["paper"]` may have the authors' value."""
    apart = component.scales.get("paper", {})
    for name in apart:
        extra: Any = component.Params.model_fields[name].json_schema_extra
        assert extra["later"], name
    paper, defaults = component.resolve("paper").params, component.Params()
    assert paper.model_copy(update={n: getattr(defaults, n) for n in apart}) == defaults


def test_it_implements_its_contract(component: type[Component]) -> None:
    base = next(c for c in component.__mro__ if "kind" in vars(c))
    needed = {
        "method": ["viewer", "network"],
        "crop": ["sampler"],
        "proposals": ["propose"] if "propose" in vars(component) else ["prepare"],
        "task": ["run"],
        "data": ["stage", "run", "open_split"],
    }[component.kind]
    for name in needed:
        mine: Any = getattr(component, name)
        assert mine is not getattr(base, name), f"{component.name} does not define {name}"
        assert list(inspect.signature(mine).parameters) == list(
            inspect.signature(getattr(base, name)).parameters
        )


def test_task_declares_its_metrics(component: type[Component]) -> None:
    if component.kind != "task":
        pytest.skip("not a task")
    task: Any = component
    assert task.headline in task.metrics
    for wanted in task.data.values():
        registry.entry("data", wanted)


def test_data_says_how_to_get_it_and_can_be_tried(component: type[Component]) -> None:
    """Files with sizes, the page that has them, what the folder then holds; a writer of it, where
    there is one."""
    if component.kind != "data":
        pytest.skip("no data set")
    data: Any = component
    get = data.how_to_get
    assert isinstance(get, HowToGet)
    assert get.layout
    assert "\n" not in str(get)
    assert bool(get.files) == bool(get.site)
    assert all(name and megabytes >= 0 for name, megabytes in get.files.items())
    assert not get.files or get.megabytes > 0
    assert all(count > 0 for count in data.official.values())
    write = data.sample()
    assert write is None or callable(write)
    for setting in data.sample_settings:
        data.resolve("tiny", dict([setting.split("=")]))
    assert set(data.resolve("paper").published()) <= set(data.splits)


def test_supports_answers_for_every_pair(component: type[Component]) -> None:
    if component.kind != "method":
        pytest.skip("not a method")
    for crop in registry.names("crop"):
        reason = component.resolve("tiny").supports(registry.load("crop", crop))  # type: ignore[attr-defined]
        assert reason is None or 10 <= len(reason) <= 200
    assert component.resolve("tiny").supports(registry.load("crop", "image")) is None  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_enters_keys_but_a_place(component: type[Component]) -> None:
    """Whatever value a setting has, also one added later; a path never does."""
    if "identity" in vars(component.Params):
        pytest.skip("its settings say themselves what enters; its own tests look at that")
    for name, info in component.Params.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        changed = component.Params().model_copy(update={name: "another value"})
        entered = changed.identity().get(name) == "another value"
        assert entered == (not extra.get("place")), name

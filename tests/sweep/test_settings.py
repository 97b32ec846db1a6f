"""Which component a setting belongs to, which values it may take, and what is said where that
fails."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from bench.cli.sweep import parse_time
from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.params import param
from bench.sweep import owners
from bench.sweep.owners import find_setting
from bench.sweep.setup import choose_search, resolve
from bench.sweep.space import Space, declared_space, parse_space


class Fields(BaseModel):
    n: int = param(5, search=[1, 3, 5, 7])
    x: float = param(0.1, search=["log", 1e-3, 1.0])
    k: int = param(10, search=["int", 1, 200])
    few: int = param(1, search=["int", 1, 4])
    plain: float = param(0.5)
    flag: bool = param(True)


F = Fields.model_fields


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n", Space("o.n", (1, 3, 5, 7))),
        ("x", Space("o.x", (), 1e-3, 1.0, log=True)),
        ("k", Space("o.k", (), 1, 200, whole=True)),
        ("few", Space("o.few", (1, 2, 3, 4))),
    ],
)
def test_declared(name: str, expected: Space) -> None:
    found = declared_space(f"o.{name}", F[name])
    assert found == expected
    assert Space.of(json.loads(json.dumps(found.plain()))) == found


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("n", "1,3,5,7", Space("o.n", (1, 3, 5, 7))),
        ("n", "3", Space("o.n", (3,))),
        ("n", "1:4", Space("o.n", (1, 2, 3, 4))),
        ("n", "1:100", Space("o.n", (), 1, 100, whole=True)),
        ("n", "0:10:5", Space("o.n", (0, 5, 10))),
        ("x", "0.0:0.3", Space("o.x", (), 0.0, 0.3)),
        ("x", "0:0.3:0.1", Space("o.x", (0.0, 0.1, 0.2, 0.3))),
        ("x", "log:1e-3:1", Space("o.x", (), 1e-3, 1.0, log=True)),
        ("flag", "true,false", Space("o.flag", (True, False))),
        ("plain", "none,a", Space("o.plain", (None, "a"))),
    ],
)
def test_given(field: str, text: str, expected: Space) -> None:
    found = parse_space(f"o.{field}", F[field], text)
    assert found == expected
    again = parse_space(f"o.{field}", F[field], found.option().partition("=")[2])
    assert again == found


@pytest.mark.parametrize(
    "text", ["1:0", "log:0:1", "a:b", "1:2:3:4", "log:1", "1:2:-1", ",", "1:nan"]
)
def test_not_understood(text: str) -> None:
    with pytest.raises(BadInput, match=r"log:1e-3:1"):
        parse_space("o.x", F["x"], text)


def test_a_field_without_a_space_says_how_to_give_one() -> None:
    with pytest.raises(BadInput, match=r"--param o.plain=0.5,1.0"):
        declared_space("o.plain", F["plain"])


def test_every_declared_space_is_valid() -> None:
    """Values and both ends of each range are values the field takes."""
    count = 0
    for (_, name), cls in owners.load_components().items():
        for field, info in cls.Params.model_fields.items():
            if (info.json_schema_extra or {}).get("search"):  # type: ignore[union-attr]
                count += 1
                owners._check_values(cls, field, declared_space(f"{name}.{field}", info), "paper")
    assert count > 50


def test_n_crops_belongs_to_coarse() -> None:
    found = find_setting("n_crops", {}, "tiny")
    assert (found.kind, found.owner, found.space.values) == ("crop", "coarse", (1, 3, 5, 7))
    assert "selective_search" in found.others
    assert find_setting("n_crops", {"crop": "grid"}, "tiny").owner == "coarse"  # grid has none
    assert find_setting("n_crops=2", {"crop": "obj_obj"}, "tiny").owner == "obj_obj"
    assert find_setting("poor.n_crops", {}, "tiny").owner == "poor"
    assert find_setting("method.lr", {}, "tiny").owner == "byol"
    assert find_setting("method.lr", {"method": "simclr"}, "tiny").owner == "simclr"


def test_a_claim_is_unique() -> None:
    claims = [f for cls in owners.load_components().values() for f in vars(cls).get("sweeps", ())]
    assert len(claims) == len(set(claims))
    for kind in ("method", "task"):
        assert (
            sum(bool(vars(registry.load(kind, n)).get("usual")) for n in registry.names(kind)) == 1
        )


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        ("lr=0.1", {}, "several components: methods byol, .*tasks .*--param byol.lr=0.1"),
        ("lr", {"method": "byol", "task": "voc07_linear"}, "methods byol; tasks voc07_linear"),
        ("n_cops", {}, "did you mean 'n_crops'"),
        ("byl.lr", {}, "did you mean 'byol'"),
        ("byol.n_crops", {}, "no setting 'n_crops' of byol"),
        ("n_crops=0", {}, "greater than or equal to 1"),
        ("n_crops=", {}, "NAME=SPACE"),
        ("byol.batch_size", {}, "no search space"),
    ],
)
def test_errors(text: str, named: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        find_setting(text, named, "tiny")


def test_defaults_are_stated_and_owners_become_the_cell() -> None:
    owned, chosen, notes = resolve(["n_crops", "k=5,10"], "tiny", {"task": "knn"})
    assert [o.name for o in owned] == ["coarse.n_crops", "knn.k"]
    assert chosen == {"crop": "coarse", "task": "knn", "method": "byol"}
    assert "method byol: no --method was given" in notes
    with pytest.raises(BadInput, match="the crop is image; try: --crop coarse"):
        resolve(["n_crops"], "tiny", {"crop": "image"})
    with pytest.raises(BadInput, match="one task"):
        resolve(["n_crops"], "tiny", {"task": "*_knn"})
    with pytest.raises(BadInput, match="twice"):
        resolve(["n_crops=1", "coarse.n_crops=2"], "tiny", {})


def _spaces(*params: str) -> list[Space]:
    return [o.space for o in resolve(params, "tiny", {})[0]]


def test_search_that_suits_the_space() -> None:
    grid, endless = _spaces("n_crops", "knn.k=5,10"), _spaces("n_crops", "byol.lr")
    assert choose_search(grid, "auto", "auto", None, False) == ("grid", "none", 8)
    assert choose_search(endless, "auto", "auto", None, False) == ("tpe", "median", 20)
    assert choose_search(endless, "auto", "none", 7, False) == ("tpe", "none", 7)
    assert choose_search(endless, "random", "auto", None, True)[2] > 1000
    with pytest.raises(BadInput, match=r"grid needs a list.*byol.lr=0.001,1.0"):
        choose_search(endless, "grid", "auto", None, False)
    with pytest.raises(BadInput, match="one of auto, grid"):
        choose_search(grid, "bayes", "auto", None, False)


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_times(text: str, value: float) -> None:
    assert parse_time(text) == value


def test_help_lists_no_hidden_option() -> None:
    from bench.cli.sweep import command

    text = CliRunner().invoke(command, ["--help"]).output
    assert "--param" in text
    assert "--worker-of" not in text

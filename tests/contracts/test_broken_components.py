"""Components of another package that cannot be used: they stop their own cells and nothing else,
and every command says why in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.contracts import registry
from bench.core.errors import Unavailable
from bench.launch import provenance
from bench.plan.pairs import list_pairs

METHOD = '''"""A method."""
from bench.contracts.method import Method
class Torn(Method):
    def network(self, n_images, heads=1):
        return None
'''
BROKEN = {
    ("ssl", "comma"): ('"""A method."""\nclass Comma(\n', "SyntaxError"),
    ("ssl", "lonely"): ("import there_is_no_such_package\n", "No module named 'there_is_no"),
    ("ssl", "leaver"): ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ("ssl", "viewless"): (METHOD, "Torn in .*viewless.py must define viewer; see"),
    ("crops", "nowhere"): (
        "from bench.contracts.crop import Crop\nclass Nowhere(Crop):\n    pass\n",
        "must define sampler",
    ),
    ("proposals", "idle"): (
        "from bench.contracts.proposals import Proposals\nclass Idle(Proposals):\n    pass\n",
        r"must define propose \| prepare",
    ),
    ("tasks", "silent"): (
        "from bench.contracts.task import Task\nclass Silent(Task):\n    pass\n",
        "must define run, headline",
    ),
    ("sets", "empty"): (
        "from bench.contracts.data import Data\nclass Empty(Data):\n    pass\n",
        "must define stage, run, open_split, how_to_get",
    ),
    ("sets", "latin"): ("# \xe9\nraise ValueError('not\\nhere')\n", "ValueError: not here"),
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution `torn` 2.5, which brings all of them."""
    package = tmp_path / "checkout" / "torn"
    for folder in registry.FOLDERS:
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    for (folder, name), (text, _) in BROKEN.items():
        (package / folder / f"{name}.py").write_text(text, encoding="utf-8")
    about = tmp_path / "checkout" / "torn-2.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 2.5\n")
    (about / "entry_points.txt").write_text("[bench.components]\ntorn = torn\n")
    monkeypatch.syspath_prepend(str(tmp_path / "checkout"))
    forget()
    yield package
    forget()


def forget() -> None:
    registry.entries.cache_clear()
    registry.load.cache_clear()
    provenance._plugins.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "torn"]:
        del sys.modules[name]


def say(*words: str) -> tuple[str, str]:
    """stdout and stderr of a command that ends well."""
    done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


@pytest.mark.parametrize(("folder", "name"), BROKEN)
def test_loading_it_says_in_one_line_what_is_wrong(plugin: Path, folder: str, name: str) -> None:
    kind, (_, reason) = registry.FOLDERS[folder], BROKEN[folder, name]
    with pytest.raises(
        Unavailable, match=f"^{kind} '{name}' is unavailable: .*{reason}"
    ) as caught:
        registry.load(kind, name)
    assert "\n" not in str(caught.value)
    assert f"{name}.py" in str(caught.value)


def test_what_a_component_inherits_from_another_it_need_not_define(plugin: Path) -> None:
    (plugin / "crops" / "heir.py").write_text(
        "from methods.crops.image import Image\nclass Heir(Image):\n    pass\n"
    )
    registry.entries.cache_clear()
    assert registry.load("crop", "heir").name == "heir"


def test_lists_go_on_without_it(plugin: Path) -> None:
    shown, _ = say("list", "methods")
    assert "unavailable: SyntaxError: '(' was never closed (comma.py, line 2)" in shown
    assert "byol" in shown
    pairs = list_pairs("crop", "tiny")
    reasons = {p.other: p.reason for p in pairs if p.method == "byol"}
    assert "must define sampler" in str(reasons["nowhere"])
    assert reasons["image"] is None
    assert "No module named" in str(
        next(p.reason for p in pairs if (p.method, p.other) == ("lonely", "image"))
    )
    sets, left_out = say("data", "list", "--json")
    assert {"coco", "scenes"} <= {row["name"] for row in json.loads(sets)}
    assert "left out: data 'empty' is unavailable" in left_out
    report = json.loads(say("doctor", "--json")[0])
    assert report["unavailable"].keys() == {f"{registry.FOLDERS[f]} {n}" for f, n in BROKEN}


def test_a_plan_of_all_methods_plans_the_others(plugin: Path) -> None:
    words = ("plan", "--crop", "image", "--task", "knn", "--json")
    plan = json.loads(say(*words, "--method", "*")[0])
    cells = {c["method"]: c for c in plan["cells"]}
    assert set(cells) == set(registry.names("method"))
    for folder, name in BROKEN:
        if folder == "ssl":
            assert cells[name]["final"] is None
            assert f"method '{name}' is unavailable" in cells[name]["reason"]
    alone = json.loads(say(*words, "--method", "byol")[0])
    assert cells["byol"]["final"] == alone["cells"][0]["final"]
    tasks = json.loads(say("plan", "--method", "byol", "--task", "s*,knn", "--json")[0])["cells"]
    assert {c["task"]: c["final"] is None for c in tasks} == {"silent": True, "knn": False}


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--method", "viewless", "--task", "knn"),
        ("plan", "--method", "byol", "--crop", "nowhere", "--task", "knn"),
        ("plan", "--method", "byol", "--task", "silent"),
        ("plan", "--method", "byol", "--task", "knn", "--data", "latin"),
        ("data", "check", "empty"),
        ("list", "params", "comma"),
    ],
)
def test_naming_it_is_an_error(plugin: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, list(words))
    assert isinstance(done.exception, Unavailable), done.output
    assert done.exception.exit_code == 2


def test_a_sweep_of_a_setting_does_not_ask_for_it(plugin: Path) -> None:
    from bench.sweep.owners import find_setting, load_components

    assert ("method", "viewless") not in load_components()
    assert find_setting("momentum=0.9,0.99", {"method": "byol"}, "tiny").owner == "byol"


def test_a_package_whose_surroundings_cannot_be_imported_is_not_there(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plugin / "__init__.py").write_text("raise RuntimeError\n")
    about = plugin.parent / "torn-2.5.dist-info" / "entry_points.txt"
    about.write_text("[bench.components]\ntorn = torn.crops\n")
    forget()
    assert "nowhere" not in registry.names("crop")
    assert "image" in registry.names("crop")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_provenance_has_version_commit_and_state_of_other_packages(plugin: Path) -> None:
    def ask() -> provenance.PluginRecord:
        provenance._plugins.cache_clear()
        return provenance.provenance(0.0, 1.0, "", None)["plugins"]["torn"]

    assert ask() == {"version": "2.5", "commit": None, "dirty": None}, "no checkout"
    checkout = plugin.parent
    git(checkout, "init", "-q")
    git(checkout, "add", "torn")
    git(checkout, "commit", "-qm", "x")
    head = git(checkout, "rev-parse", "HEAD")
    assert ask() == {"version": "2.5", "commit": head, "dirty": False}
    cache = plugin / "crops" / "__pycache__"
    cache.mkdir()
    (cache / "nowhere.cpython-311.pyc").write_bytes(b"x")
    assert ask()["dirty"] is False, "what Python leaves is no code"
    changes: tuple[Callable[[], object], ...] = (
        lambda: (plugin / "crops" / "new.py").write_text(""),
        lambda: (plugin / "crops" / "nowhere.py").write_text("# other\n"),
    )
    for change in changes:
        change()
        assert ask()["dirty"] is True
        git(checkout, "add", "-A", "torn")
        git(checkout, "commit", "-qm", "y")
        assert ask()["dirty"] is False
    assert "ssl-crop-bench" not in provenance._plugins()

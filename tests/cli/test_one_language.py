"""One language of options: old names still work, --dry-run runs nothing, files hold options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.cli.crops.recall import recall
from bench.cli.crops.stats import stats

CELLS = ["--method", "random_init", "--crop", "image,grid", "--task", "knn", "--seeds", "0,1"]


def say(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_matrix_and_run_print_the_same_commands_and_run_nothing(home: Path) -> None:
    ran, crossed = (say(verb, *CELLS, "--dry-run") for verb in ("run", "matrix"))
    assert ran.exit_code == crossed.exit_code == 0
    lines = ran.stdout.splitlines()
    assert crossed.stdout.splitlines() == lines
    assert len(lines) == 4
    assert all(line.startswith("bench run --method random_init") for line in lines)
    assert not list((home / "store").glob("*/*"))


def test_the_names_of_the_last_version_still_work() -> None:
    new = say("matrix", *CELLS, "--dry-run")
    old = [f"{word}s" if word in ("--method", "--crop", "--task") else word for word in CELLS]
    again = say("matrix", *old, "--dry-run")
    assert again.stdout == new.stdout
    assert "--methods is called --method now" in again.stderr
    assert "--methods" not in say("matrix", "--help").output
    context = stats.make_context("stats", ["--source=masks", "--seeds", "3"])
    assert (context.params["objects"], context.params["epochs"]) == ("masks", 3)
    assert recall.make_context("recall", ["--seeds", "2"]).params["repeats"] == 2


def test_options_are_saved_and_read_again_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    few = ("--set", "scenes_objects.n_train=24", "--set", "knn.k=3")
    first = say("run", "--save-config", str(file), *CELLS, *few, "--dry-run")
    assert first.exit_code == 0, first.output
    assert say("run", "--config", str(file)).stdout == first.stdout, "--dry-run is in it too"
    other = say("run", "--config", str(file), "--crop", "image")
    assert other.stdout == "".join(
        line + "\n" for line in first.stdout.splitlines() if "--crop image" in line
    )


@pytest.mark.parametrize("ending", ["yaml", "toml"])
def test_a_file_by_hand_may_have_lists_and_settings(ending: str, tmp_path: Path) -> None:
    text = {
        "yaml": "method: [random_init]\ntask: knn\nseeds: [0, 1]\ndry_run: true\n"
        "set: {knn.k: 3}\n",
        "toml": 'method = ["random_init"]\ntask = "knn"\nseeds = [0, 1]\ndry-run = true\n'
        "[set]\n'knn.k' = 3\n",
    }
    file = tmp_path / f"run.{ending}"
    file.write_text(text[ending])
    lines = say("run", "--config", str(file)).stdout.splitlines()
    assert len(lines) == 2
    assert all("--set knn.k=3" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methd: byol\n", "did you mean 'method'"),
        ("- byol\n", "holds no options"),
        ("a: [\n", "cannot be read as YAML or TOML"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    done = say("run", "--config", str(file), *CELLS)
    assert message in str(done.exception)


def test_run_prints_its_cells_as_json(home: Path) -> None:
    done = say("run", "-m", "supervised", "-c", "obj_scene", "-t", "knn", "--json")
    told = json.loads(done.stdout)
    assert told["counts"] == {"unsupported": 1}
    assert told["cells"][0]["key"] is None
    assert done.exit_code == 2


def test_a_sweep_says_what_it_would_try(home: Path) -> None:
    few = ("--set", "scenes_objects.n_train=24", "--set", "scenes_objects.n_val=8")
    words = ("sweep", "--param", "knn.k=3,5", "--method", "random_init", "--task", "knn", *few)
    done = say(*words, "--dry-run")
    assert done.exit_code == 0, done.output
    commands = [line for line in done.stdout.splitlines() if line.startswith("bench run")]
    assert len(commands) == 2
    assert "--set knn.k=3" in commands[0]
    assert "holdout=0.2" in commands[0]
    assert not (home / "results.db").exists()

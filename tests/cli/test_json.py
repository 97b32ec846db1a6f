"""--json is an option of every verb that prints something for a program to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import VERBS, cli
from tests.cli.conftest import Bench

# bench check prints what pytest prints; the dashboard is a server; an export is a file of its own
OTHERS = {"check", "dashboard", "results export"}


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for verb in command.list_commands(context):
        found = command.get_command(context, verb)
        assert found is not None
        yield from leaves(found, f"{name} {verb}".strip())


def test_every_verb_has_it() -> None:
    commands = dict(leaves(cli))
    assert {name.split()[0] for name in commands} == set(VERBS)
    lacking = {n for n, c in commands.items() if not any("--json" in p.opts for p in c.params)}
    assert lacking == OTHERS


def test_the_same_option_is_of_one_kind_in_every_verb() -> None:
    """A name takes a value everywhere or nowhere; but for --json of bench perf, which may name a
    file."""
    kinds: dict[str, dict[bool, list[str]]] = {}
    for name, command in leaves(cli):
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                for word in (o for o in param.opts if o.startswith("--")):
                    kinds.setdefault(word, {}).setdefault(param.is_flag, []).append(name)
    differing = {
        word: sorted(verb for verbs in list(uses.values())[1:] for verb in verbs)
        for word, uses in kinds.items()
        if len(uses) > 1
    }
    assert differing.pop("--json")
    assert differing == {}


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["gc"], {"deleted", "folders", "bytes"}),
        (["new", "crop", "quarters", "--package", "lab"], {"files"}),
        (["results", "rebuild"], {"stages", "results", "imported", "cells", "sweeps"}),
        (["data", "make", "coco", "--out", "c", "--train", "2", "--val", "1"], {"data", "path"}),
        (["runs"], set()),
    ],
)
def test_what_is_printed_is_json_alone(
    words: list[str],
    keys: set[str],
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = bench(*words, "--json")
    assert code == 0
    assert keys <= set(json.loads(out))


def test_a_named_set_is_described(bench: Bench, home: Path, tmp_path: Path) -> None:
    place = tmp_path / "boxes"
    assert bench("data", "make", "coco", "--out", str(place), "--train", "4", "--val", "2")[0] == 0
    code, out, err = bench("data", "add", "mine", "coco", str(place), "--json")
    assert code == 0, err
    assert json.loads(out)["path"] == str(place)
    assert json.loads(bench("data", "remove", "mine", "--json")[1])["name"] == "mine"

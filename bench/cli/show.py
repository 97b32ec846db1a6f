"""bench show KEY: a stage's provenance, resolved config and the command that makes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._complete import Key
from bench.cli._options import JSON
from bench.cli._table import echo_prose, print_json
from bench.core.redact import redact
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.core.stage import StageRecord
    from bench.core.store import Store


@click.command()
@click.argument("key", type=Key())
@JSON()
def command(key: str, as_json: bool) -> None:
    """Show the stage whose key starts with KEY: its inputs, metrics, settings and command.

    bench run and bench leaderboard --json print keys; the first four digits or more are enough.
    """
    from bench.core.store import Store

    store = Store(open_runtime().home)
    folder, record = store.find(key)
    provenance = _read(folder / "provenance.json")
    result = _read_result(folder, record["key"])
    code = {
        f"{r['kind']}/{r['name']} {r['key'][:12]}": state
        for r, state in code_states(store, record)
    }
    full = {
        "stage": record,
        "folder": str(folder),
        "provenance": provenance,
        "result": result,
        "command": _command(result, provenance),
        "code": code,
    }
    if as_json:
        print_json(full)
        return
    click.echo(f"{record['kind']}/{record['name']}  {record['key']}\nfolder   {folder}")
    for role, child in record["inputs"].items():
        click.echo(f"input    {role:<12} {child[:12]}")
    for name, value in result.get("metrics", {}).items():
        click.echo(f"metric   {name:<12} {value:.4g}")
    for section, values in (("config", record["params"]), ("made", provenance)):
        click.echo(f"{section}:")
        for name, value in values.items():
            echo_prose(f"{name}: {json.dumps(value)}", "    ", "  ")
    for name, state in code.items():
        if state != "current":
            text = "changed since it was made" if state == "changed" else state
            click.echo(f"code     {name}: {text}")
    if set(code.values()) == {"current"}:
        click.echo("code     unchanged since this stage and its inputs were made")
    click.echo(f"command  {full['command']}")


def code_states(store: Store, record: StageRecord) -> list[tuple[StageRecord, str]]:
    """The stage and every input there is, each "current", "changed" since it was made, or
    "unknown"."""
    from bench.contracts.source import Code

    code = Code()
    known = {r["key"]: (f, r) for f, r in store.committed()}
    states: dict[str, tuple[StageRecord, str]] = {}
    waiting = [record["key"]]
    while waiting:
        key = waiting.pop(0)
        if key in states or key not in known:
            continue
        folder, each = known[key]
        recorded = _read(folder / "provenance.json").get("source_digest")
        runner, kind, name = each.get("runner", ""), each["kind"], each["name"]
        states[key] = each, code.state(runner, kind, name, each["params"], recorded)
        waiting += each["inputs"].values()
    return list(states.values())


def _command(result: dict[str, Any], provenance: dict[str, Any]) -> str:
    """The cell's command where the stage is a cell's last, else the one that was typed."""
    cell = result.get("cell")
    command = cell.get("command") if isinstance(cell, dict) else None
    if command:
        return str(command)
    import shlex

    return "bench " + shlex.join(redact(str(word)) for word in provenance.get("arguments", []))


def _read_result(folder: Path, key: str) -> dict[str, Any]:
    """The result, if the folder has one and is as it was written."""
    from bench.core.records import DamagedFolder, check_folder

    try:
        check_folder(folder, key)
    except DamagedFolder as error:
        click.echo(f"{error}; the next bench run makes the stage again", err=True)
        return {}
    return _read(folder / "result.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}

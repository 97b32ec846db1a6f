"""The command line: one file per verb, imported only when the verb runs."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from bench import __version__
from bench.core.errors import BenchError, brief, nearest
from bench.core.redact import redact

VERBS = {  # verb -> one line; the file of the same name defines `command`
    "run": "Pretrain, transfer and score cells: method x crop x task.",
    "sweep": "Find the best value of a setting, on validation images.",
    "matrix": "Run a whole product of methods, crops, tasks and seeds, each stage once.",
    "plan": "Show the stages a run would make or reuse; runs nothing.",
    "status": "Show what is queued, running and failed.",
    "runs": "List what was run, the newest first: state, score, user, tags.",
    "note": "Write a note on a cell.",
    "tag": "Tag a cell, or take tags away.",
    "delete": "Delete a stage and its results.",
    "list": "List methods, crops, tasks, data, proposals or params.",
    "data": "List, check, prepare, split and name data sets; write a small one.",
    "new": "Write a component to start from: a method, crop, task or data set.",
    "check": "Run the conformance suite on a component.",
    "show": "Show a stage: provenance, resolved config, the command that made it.",
    "crops": "Measure and draw where every strategy crops: objectness, coverage, pictures.",
    "figure": "Draw the papers' figures and pictures into a file.",
    "perf": "Measure speed as a ratio to the plain way, in one run.",
    "leaderboard": "Rank what was measured.",
    "compare": "Tell whether results differ: intervals over resampled test images.",
    "dashboard": "Show results in a browser: leaderboard, cells, comparisons, coverage.",
    "table": "The papers' tables: list them, run their cells, show reported beside measured.",
    "results": "Check, export, import or rebuild the results database.",
    "export": "Write a backbone for torchvision, detectron2 or mmdet.",
    "track": "Send tracked runs that were kept offline.",
    "gc": "Free disk space: partial work and large files no result needs.",
    "doctor": "Report versions, devices, tracker, data and store.",
}


OF_USERS = (
    click.ClickException,
    click.Abort,
    KeyboardInterrupt,
    BenchError,
    OSError,
    UnicodeEncodeError,
)


class LazyGroup(click.Group):
    """Lists verbs from the table above; imports a verb's file when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS]  # `list` is the module of a verb here, once that is imported

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        from importlib import import_module

        verb: click.Command = import_module(f"bench.cli.{name}").command
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            guess = nearest(args[0], VERBS)
            hint = f" (did you mean {guess!r}?)" if guess else ""
            raise click.UsageError(f"unknown command {args[0]!r}{hint}; try: bench --help", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Where should I crop? Every cropping strategy x SSL method x downstream task.

    First run: bench run --method orl --task coco_det

    Shell completion: eval "$(_BENCH_COMPLETE=bash_source bench)"  (or zsh_source, fish_source)
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors are one line on stderr; exit codes 0 ok, 1 failed, 2 bad input, 130
    interrupted."""
    args = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in args[:1] or bool(os.environ.get("BENCH_DEBUG"))
    try:
        code: Any = cli.main(args=args, prog_name="bench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OF_USERS as error:
        if debug and not isinstance(error, (click.ClickException, click.Abort, KeyboardInterrupt)):
            raise
        code = _say(*_explain(error))
    except Exception as error:
        if debug or not _comes_from_database(error):
            raise
        code = _say(_explain_database(error), 2)
    sys.exit(code if isinstance(code, int) else 0)


def _comes_from_database(error: Exception) -> bool:
    """Whether SQLAlchemy raised it, which is not imported for this."""
    return any(base.__module__ == "sqlalchemy.exc" for base in type(error).__mro__)


def _explain_database(error: Exception) -> str:
    from bench.results.db.connection import explain
    from bench.results.db.place import database_url

    return str(explain(error, database_url(), "read"))


def _say(text: str, code: int) -> int:
    line = re.sub(r"\S{500,}", lambda word: brief(word[0])[1:], redact(text))
    click.echo(f"bench: {line}", err=True)
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    """What a command that ended with one of `OF_USERS` says, and its exit code."""
    if isinstance(error, click.ClickException):
        return _one_line(error), 2
    if isinstance(error, BenchError):
        return str(error), error.exit_code
    if isinstance(error, UnicodeEncodeError):  # an argument that is no UTF-8
        return f"an argument or a file's name cannot be encoded: {brief(error.object)}", 2
    if isinstance(error, OSError):  # where no command said it in words of its own
        reason = error.strerror or type(error).__name__
        if error.filename is None:
            return f"the system refused: {reason}; bench --debug shows where", 2
        return f"{brief(os.fsdecode(error.filename), 200)} cannot be used: {reason}", 2
    return "interrupted; the same command goes on where this one stopped", 130


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if "; try: " in text:
        return text
    context = getattr(error, "ctx", None)
    return f"{text.rstrip('.')}; try: {context.command_path if context else 'bench'} --help"

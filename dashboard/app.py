"""The dashboard: `bench dashboard`, or `streamlit run dashboard/app.py`. Reads results, writes
nothing.

A page is a file in `dashboard/screens/`: see docs/design/dashboard.md.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import streamlit as st

# `streamlit run` puts only this file's folder on the path
ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

import dashboard.screens  # noqa: E402
from bench.results.db.reading import (  # noqa: E402
    FIRST_COMMAND,
    NothingYet,
    explain_error,
    is_user_error,
)
from dashboard.address import PAGE, start_page  # noqa: E402
from dashboard.charts import PAPER, is_dark  # noqa: E402
from dashboard.faults import describe_fault  # noqa: E402
from dashboard.hosts import ALLOWED, ask_nobody, host_name, is_allowed, read_host  # noqa: E402
from dashboard.live import follow  # noqa: E402
from dashboard.look import note, paint, show_small_print, title  # noqa: E402
from dashboard.source import Source  # noqa: E402
from dashboard.widgets import button, segments  # noqa: E402

LOG = logging.getLogger("bench.dashboard")


def screens() -> list[ModuleType]:
    """The modules of `dashboard/screens`, in the order they ask for."""
    names = [
        m.name
        for m in pkgutil.iter_modules(dashboard.screens.__path__)
        if not m.name.startswith("_")
    ]
    modules = [importlib.import_module(f"dashboard.screens.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.ORDER, module.TITLE))


def guard_page(module: ModuleType) -> None:
    """Show the module's page, or one clear line where something is wrong with the database, the
    address or the page."""
    try:
        source = Source()
        module.page(source)
        follow(source)
    except NothingYet as error:
        st.html(title(module.TITLE) + note(str(error)))
        st.code(FIRST_COMMAND, language="bash")
        if hasattr(module, "FIRST"):
            st.html(show_small_print("For this page, run:"))
            st.code(module.FIRST, language="bash")
    except SQLAlchemyError as error:
        st.html(title(module.TITLE) + note(explain_error(error), "warn"))
        button("Reload")
    except Exception as error:
        if is_user_error(error):
            text = str(error)
        else:
            text = describe_fault(error)
            LOG.exception("the page %s cannot be shown", module.TITLE)
        st.html(title(module.TITLE) + note(text, "warn"))


def choose_page(modules: dict[str, ModuleType]) -> str:
    """The page that the address names, and a menu of all."""
    first = next(iter(modules))
    asked = st.query_params.get(PAGE, first)
    asked = asked if asked in modules else first
    shown = asked if getattr(modules[asked], "IN_MENU", True) else None
    if st.session_state.get("menu") != shown:
        st.session_state["menu"] = shown
    segments(
        "Page",
        [name for name, module in modules.items() if getattr(module, "IN_MENU", True)],
        key="menu",
        format_func=lambda name: modules[name].TITLE,
        on_change=open_page,
        args=(first, asked),
    )
    return asked


def open_page(first: str, before: str) -> None:
    """Answer a click in the menu; the page itself keeps its other choices."""
    chosen = st.session_state["menu"] or before
    st.query_params.from_dict({} if chosen == first else {PAGE: chosen})


def refuse(host: str) -> str:
    """Why nothing is shown under this name, and what to do where it is meant."""
    name = host_name(host)[:80]
    return (
        f"The dashboard is not known as {name!r}. If that name is meant, start it with: bench "
        f"dashboard --allow-host {name} (or {ALLOWED}={name})"
    )


def main() -> None:
    """The menu, then the page; the first is the leaderboard."""
    st.set_page_config(
        page_title="bench", page_icon="📊", layout="wide", initial_sidebar_state="collapsed"
    )
    ask_nobody()  # where this was started by Streamlit's own command
    if not is_allowed(read_host()):
        st.html(title("bench") + note(refuse(read_host()), "warn"))
        return
    st.html(paint(PAPER["dark" if is_dark() else "light"][0]))
    modules = {m.__name__.rpartition(".")[2]: m for m in screens()}
    page = choose_page(modules)
    start_page(page)
    guard_page(modules[page])


main()

"""Make a picture of a backbone at hand: the command, what it costs, and where that is allowed a
button that runs it."""

from __future__ import annotations

from html import escape

import streamlit as st

from bench.figures.recorded import (
    command_words,
    list_backbones,
    list_options,
    read_usual_seconds,
)
from bench.results.db.place import home_folder
from dashboard.address import Address
from dashboard.jobs import Job, Jobs, may_run
from dashboard.look import duration, note, section, show_small_print
from dashboard.source import Source
from dashboard.widgets import button

IMAGES = 4  # as `bench figure` has it
MOST_IMAGES = 16
LOOK_SECONDS = 1.0


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The server's jobs."""
    return Jobs()


def offer_making(source: Source, address: Address, name: str) -> None:
    """What to make, the command, its cost, the button, and what runs now."""
    st.html(section("Make one"))
    words = choose_words(source, address, name)
    if words is None:
        st.html(note("There is no backbone yet of which a picture could be made."))
        return
    shown = f"bench {' '.join(words)} --out {name}.png"
    st.code(shown, language="bash", wrap_lines=True)
    seconds, made = source.keep("picture seconds", lambda: _read_cost(source, name), name)
    st.html(show_small_print(describe_cost(seconds, made)))
    if not may_run():
        st.html(
            show_small_print(
                "The dashboard only reads. Started as bench dashboard --allow-run it has a button "
                "here that runs the command on this machine."
            )
        )
        return
    busy = jobs().running is not None
    if button("Run it", key="picture.run", disabled=busy):
        jobs().start(name, words, f"{name}.png")
        st.rerun()
    show_job(seconds)


def _read_cost(source: Source, name: str) -> tuple[float, int]:
    return source.ask(read_usual_seconds, name)


def choose_words(source: Source, address: Address, name: str) -> list[str] | None:
    """The command's words; None where it needs a backbone and there is none."""
    options = list_options(name)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    key, count = "", 0
    if "backbone" in options:
        held = source.keep("backbones", lambda: source.ask(list_backbones, home_folder()))
        if not held:
            return None
        titles = {b.key[:12]: b.title for b in held}
        key = address.one(
            "Backbone",
            "backbone",
            list(titles),
            next(iter(titles)),
            where=left,
            format_func=lambda k: titles.get(k, k),
        )
    if "count" in options:
        asked = address.count("Images", "images", 1, MOST_IMAGES, where=right, default=IMAGES)
        count = 0 if asked == IMAGES else asked
    return command_words(name, key, count)


def describe_cost(seconds: float, made: int) -> str:
    """What the picture will cost, as far as earlier ones tell."""
    if not made:
        return (
            "No such picture was made with this database yet, so its cost is not known. It needs "
            "one pass of a network over the images; the time is shown while it runs."
        )
    like = f"the median of the {made} of this kind that were made"
    if made == 1:
        like = "as the one of this kind that was made"
    return f"Cost: about {duration(seconds)}, {like}. What exists already is only drawn."


def show_job(usual: float) -> None:
    """What runs now with its time, a button that ends it; or how the last one ended."""
    job = jobs().last
    if job is None:
        return
    if job.code is not None:
        st.html(describe_end(job))
        return

    @st.fragment(run_every=LOOK_SECONDS)
    def look() -> None:
        if job.code is not None:
            st.rerun()
        of = f" of about {duration(usual)}" if usual else ""
        st.html(
            f'<p class="b-soft" role="status">◔ {escape(job.command)}<br>'
            f"{duration(job.elapsed)}{of}. {escape(job.last_line())}</p>"
        )
        if job.cancelled is None:
            if button("Cancel", key="picture.cancel"):
                job.cancel()
        else:
            st.html(show_small_print("It was asked to end."))

    look()


def describe_end(job: Job) -> str:
    """How a command ended, as HTML."""
    took = f"{job.command}: "
    if job.code == 0:
        return show_small_print(f"{took}made in {duration(job.elapsed)}.")
    if job.cancelled is not None:
        return note(f"{took}cancelled after {duration(job.elapsed)}.")
    return note(f"{took}ended with code {job.code}. {job.last_line()}", "warn")

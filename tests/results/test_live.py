"""Entries kept while results are written are those that are read anew."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from bench.results.db.database import Database
from bench.results.db.models import CellRow, MetricRow, ResultRow
from bench.results.views import live as module
from bench.results.views.board import Choice, make_board
from bench.results.views.crop_effects import list_crop_effects
from bench.results.views.entries import DEAD, Entry, load_entries
from bench.results.views.live import LiveEntries
from bench.results.views.live_table import LiveTable
from bench.results.views.memo import Memo
from bench.results.views.placement import make_table
from tests.dashboard.populate import fill


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return fill(f"sqlite:///{tmp_path_factory.mktemp('live') / 'results.db'}", 400)


def read(
    database: Database,
    live: LiveEntries,
    memo: Memo | None = None,
    tables: LiveTable | None = None,
) -> list[Entry]:
    """What `live` holds after a refresh, which is what is read anew; so are tables, boards and
    effects that are made of it with the last ones at hand."""
    with database.connect() as connection:
        kept = live.refresh(connection)
        anew = load_entries(connection, "small", "coco")
    assert kept == anew
    table = (tables or LiveTable()).refresh(kept)
    assert table == make_table(anew)
    memo = memo or Memo()
    for choice in (Choice(), Choice(rank="knn"), Choice(methods=("byol", "orl"), seeds=2)):
        shown, expected = make_board(table, choice, memo=memo), make_board(table, choice)
        assert shown == expected
        assert list_crop_effects(shown, memo) == list_crop_effects(expected)
    memo.forget_unasked()
    return anew


def labels(database: Database) -> list[str]:
    with database.connect() as connection:
        query = select(CellRow.label).where(CellRow.scale == "small", CellRow.state == "done")
        return list(connection.scalars(query.order_by(CellRow.label)))


def add(connection: Any, label: str, source: str, value: float, **other: Any) -> None:
    """A result, and the metrics `other` beside it."""
    row = {"label": label, "source": source, "headline": "top1", "value": value}
    made = connection.execute(insert(ResultRow).values(row)).inserted_primary_key[0]
    for at, (name, number) in enumerate({"top1": value, **other}.items()):
        metric = {"result_id": made, "name": name, "value": number, "position": at}
        connection.execute(insert(MetricRow).values(metric))


def test_any_write_is_noticed(database: Database) -> None:
    live, memo, tables = LiveEntries("small", "coco"), Memo(), LiveTable()
    before = read(database, live, memo, tables)
    assert live.read_groups == -1
    assert read(database, live, memo, tables) == before
    assert live.read_groups == 0
    rng, done = random.Random(0), labels(database)
    one, two, three, four = rng.sample(done, 4)
    with database.connect() as connection:
        group = connection.scalar(select(CellRow.group).where(CellRow.label == one))
    writes: list[Any] = [
        update(ResultRow).where(ResultRow.label == one).values(value=12.5),
        update(CellRow).where(CellRow.group == group).values(pretrain_name="mine"),
        update(CellRow).where(CellRow.group == group).values(pretrain_name="other"),
        update(CellRow).where(CellRow.state == "failed").values(reason="another reason"),
        update(CellRow).where(CellRow.state == "running").values(state="interrupted"),
        delete(ResultRow).where(ResultRow.label == two),
        delete(CellRow).where(CellRow.label == three),
        lambda c: add(c, four, "imported", 33.0),
        lambda c: add(c, one, "imported", 44.0, **{DEAD: 1.0}),
        delete(MetricRow).where(MetricRow.name == DEAD),
    ]
    for number, write in enumerate(writes):
        with database.engine.begin() as connection:
            write(connection) if callable(write) else connection.execute(write)
        after = read(database, live, memo, tables)
        assert after != before, f"write {number} changed nothing"
        before = after


def test_a_table_is_not_made_again_where_only_values_changed(database: Database) -> None:
    live, memo, tables = LiveEntries("small", "coco"), Memo(), LiveTable()
    before = read(database, live, memo, tables)
    for label in labels(database)[:5]:
        with database.engine.begin() as connection:
            one = ResultRow.label == label
            connection.execute(update(ResultRow).where(one).values(value=ResultRow.value + 1))
        after = read(database, live, memo, tables)
        assert after != before
        before = after
    assert tables.made == 1
    with database.engine.begin() as connection:
        add(connection, labels(database)[7], "imported", 33.0)
    read(database, live, memo, tables)
    assert tables.made == 2


def test_swapped_values_are_noticed(database: Database) -> None:
    """Number and sum of the values are as before."""
    live = LiveEntries("small", "coco")
    before = read(database, live)
    with database.engine.begin() as connection:
        query = select(ResultRow.id, ResultRow.value).order_by(ResultRow.id).limit(2)
        (a, x), (b, y) = connection.execute(query).all()
        for at, value in ((a, y), (b, x)):
            connection.execute(update(ResultRow).where(ResultRow.id == at).values(value=value))
    assert x != y
    assert read(database, live) != before
    assert 0 < live.read_groups < 60


def test_what_has_not_changed_is_the_same_object(database: Database) -> None:
    live = LiveEntries("small", "coco")
    with database.connect() as connection:
        before = {(e.group, e.source): e for e in live.refresh(connection)}
    with database.engine.begin() as connection:
        last = connection.scalar(select(ResultRow.id).order_by(ResultRow.id.desc()))
        connection.execute(update(ResultRow).where(ResultRow.id == last).values(value=1.0))
    with database.connect() as connection:
        after = {(e.group, e.source): e for e in live.refresh(connection)}
    same = sum(after[key] is entry for key, entry in before.items())
    assert 0 < len(before) - same < len(before) / 2
    assert 0 < live.read_groups < len(before) / 2


def test_after_a_while_everything_is_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveEntries("small", "coco")
    read(database, live)
    with database.engine.begin() as connection:
        label = connection.scalar(select(CellRow.label).where(CellRow.scale == "small"))
        one = CellRow.label == label
        connection.execute(update(CellRow).where(one).values(command="bench run --other"))
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.0)
    read(database, live)
    assert live.read_groups == -1


def test_of_many_changes_everything_is_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    live = LiveEntries("small", "coco")
    read(database, live)
    with database.engine.begin() as connection:
        connection.execute(update(ResultRow).values(value=ResultRow.value + 1))
    read(database, live)
    assert live.read_groups == -1


def test_blocks_that_differ_are_compared_in_chunks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results beyond the first block, in a block that has changed and in one that has not."""
    monkeypatch.setattr(module, "BLOCK", 128)
    live = LiveEntries("small", "coco")
    read(database, live)
    for value, at in ((1.5, 3), (2.5, 200), (3.5, 399)):
        with database.engine.begin() as connection:
            connection.execute(update(ResultRow).where(ResultRow.id == at).values(value=value))
        read(database, live)
        assert 0 < live.read_groups <= module.CHUNK


def test_a_memo_computes_again_what_holds_other_values() -> None:
    memo, computed = Memo(), []

    def ask(values: list[float]) -> float:
        def add() -> float:
            computed.append(values)
            return sum(values)

        return memo.get("sum", values, add)

    assert [ask([1.0, 2.0]), ask([1.0, 2.0]), ask([1.0, 3.0]), ask([1.0])] == [3.0, 3.0, 4.0, 1.0]
    assert computed == [[1.0, 2.0], [1.0, 3.0], [1.0]]
    memo.forget_unasked()
    memo.forget_unasked()
    ask([1.0])
    assert len(computed) == 4

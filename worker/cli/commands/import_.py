"""``import``: lists of videos into the queue."""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TextIO

from sqlalchemy import Connection

from worker import log, opening
from worker.cli import exits, output
from worker.cli.commands.import_files import (
    Admitted,
    Chunk,
    admit_all,
    begun,
    must_have_url,
    next_chunk,
    opened,
    written,
)
from worker.cli.commands.interruptible import Stop, StoppedError, stoppable
from worker.cli.session import person
from worker.core.advice import kind
from worker.core.import_row import COLUMNS, ImportMapping
from worker.db.database import Database, DatabaseProblem
from worker.formats import FormatError, Reading, Row
from worker.settings import Settings
from worker.settings_sources import Loaded
from worker.store import bulk, imports
from worker.store.imports import Intake

REASONS_SHOWN = 10

Show = Callable[[str, str], None]
"""Shows the counts of a list by its name."""


@dataclass(slots=True)
class Import:
    """One import on its way: its plan, what became of the rows, where rejects go."""

    args: argparse.Namespace
    plan: ImportMapping
    database: Database
    rejects: TextIO | None
    who: str
    stop: Stop
    done: Intake = field(default_factory=Intake)
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unused: dict[str, str | None] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)


def import_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Enqueue lists; what cannot be taken is named with line and reason."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    try:
        plan = ImportMapping(
            theirs=_split(args.map),
            fixed=_split(args.set),
            margin=timedelta(seconds=loaded.settings.url_margin_seconds),
            partial=args.update,
        )
        with stoppable() as stop:
            done = asyncio.run(import_all(args, loaded.settings, plan, stop))
    except (StoppedError, KeyboardInterrupt):
        return 128 + stop.signal
    except (FormatError, ValueError) as error:
        return exits.complain([str(error)], exits.USAGE)
    except OSError as error:
        name = error.filename or "reading or writing"
        return exits.complain([f"{name}: {error.strerror}"], exits.USAGE)
    except DatabaseProblem as problem:
        return exits.no_database(problem, loaded)
    report(done, as_json=args.json)
    if done.stop.signal:
        return exits.complain(
            ["stopped; what was read so far is in the queue, the same command goes on"],
            128 + done.stop.signal,
        )
    return exits.PROBLEMS if done.reasons else exits.OK


def _split(pairs: Sequence[str]) -> dict[str, str]:
    """``COLUMN=VALUE`` arguments. Raises ValueError with the columns that there are."""
    split = {}
    for pair in pairs:
        column, equals, value = pair.partition("=")
        if column not in COLUMNS or not equals:
            raise ValueError(f"{pair!r}: write COLUMN=…, COLUMN being one of {', '.join(COLUMNS)}")
        split[column] = value
    return split


async def import_all(
    args: argparse.Namespace, settings: Settings, plan: ImportMapping, stop: Stop
) -> Import:
    """Read every file into the queue, after a look at the beginning of each. Raises StoppedError
    where ``stop`` is heard before there is anything to bring, FormatError, ValueError, OSError,
    DatabaseProblem.
    """
    with ExitStack() as stack:
        lists = [begun(name, stack.enter_context(opened(name, stop)), plan) for name in args.files]
        rejects = stack.enter_context(written(args.rejects, args.files)) if args.rejects else None
        async with opening.made_database(settings) as database:
            going = Import(args, plan, database, rejects, person(), stop)
            with _display() as show:
                for name, reading in lists:
                    await _import_one(going, name, reading, show)
    return going


def _display() -> AbstractContextManager[Show]:
    """A line of counts for each list, on a terminal."""
    if not sys.stderr.isatty():
        return nullcontext(_unshown)
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    return terminal.lines()


def _unshown(_: str, __: str) -> None:
    """Off a terminal, the counts come at the end."""


async def _import_one(going: Import, name: str, reading: Reading, show: Show) -> None:
    """Read and look at a chunk while the one before it is written, where its transaction needs
    nothing of this thread, which may wait long for a pipe.
    """
    show(name, "")
    if reading.columns is not None:
        _note(going, reading.columns)
    writing = asyncio.create_task(asyncio.sleep(0))  # nothing is being written yet
    try:
        while chunk := next_chunk(reading, going.stop):
            if reading.columns is None:
                _look(going, name, chunk)
            admitted = admit_all(chunk, going.plan, going.database.now())
            await writing
            show(name, _told(going))
            begun = asyncio.Event()
            writing = asyncio.create_task(_bring(going, name, admitted, begun))
            await begun.wait()
    finally:
        await writing
        show(name, _told(going))


def _look(going: Import, name: str, chunk: Chunk) -> None:
    """Know the columns of rows that bring their own. Raises ValueError where they are no list."""
    rows = [record for record in chunk if isinstance(record, Row)]
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    if rows and name not in going.looked:
        must_have_url(name, columns, going.plan)
        going.looked.add(name)
    _note(going, columns)


def _note(going: Import, columns: Sequence[str]) -> None:
    """Columns that are there, and which of them nobody takes."""
    going.seen.update(columns)
    going.unused |= going.plan.unused(columns)


def _told(going: Import) -> str:
    """The counts so far."""
    done = going.done
    skipped = done.skipped.total() + done.left.total()
    return (
        f"{done.inserted:,} added, {done.updated:,} updated, {skipped:,} skipped, "
        f"{going.reasons.total():,} rejected"
    )


async def _bring(going: Import, name: str, chunk: Admitted, begun: asyncio.Event) -> None:
    """Write down what is rejected, and write what is not into the queue. Sets ``begun`` as soon as
    this thread may stand still: with a transaction that is on a thread of its own, or else at the
    end, since one that stood still would hold the queue's lock.
    """
    loop = asyncio.get_running_loop()

    def put(connection: Connection, _: datetime) -> Intake:
        if going.database.runs_in_thread:
            loop.call_soon_threadsafe(begun.set)
        return _put(connection, going, chunk.rows, chunk.at)

    try:
        going.rows += len(chunk.rows) + len(chunk.rejected)
        for line, reason, row in chunk.rejected:
            _reject(going, name, line, reason, row)
        done = await opening.change(going.database, put, "to import a chunk")
        going.done.add(done)
        for place, reason in done.rejected.items():
            record = chunk.records[place]
            _reject(going, name, record.line, reason, record.values)
    finally:
        begun.set()


def _put(
    connection: Connection, going: Import, rows: Sequence[bulk.NewVideo], now: datetime
) -> Intake:
    if going.args.update:
        return imports.add_or_update(connection, rows, now, going.who)
    if going.args.allow_duplicates:
        return imports.add_all(connection, rows, now)
    return imports.add_new(connection, rows, now)


def _reject(going: Import, name: str, line: int, reason: str, row: object) -> None:
    """Count a reject by its kind, and write it down where the user wants it."""
    going.reasons[_kind(reason)] += 1
    if going.rejects is not None:
        told = {"file": name, "line": line, "reason": reason, "row": row}
        print(json.dumps(told, ensure_ascii=True), file=going.rejects)
    elif going.reasons.total() <= REASONS_SHOWN:
        print(f"{name}:{line}: {reason}", file=sys.stderr)


def _kind(reason: str) -> str:
    """A reason without what differs from row to row."""
    until_its_end, *_ = re.split(r",? \d{4}-", reason, maxsplit=1)
    return kind(until_its_end)[:120]


def report(done: Import, *, as_json: bool) -> None:
    """What became of the rows."""
    for name, meant in done.unused.items():
        hint = f": did you mean --map {meant}={name}?" if meant else ""
        print(f"valossa-ingest: column {name!r} was not used{hint}", file=sys.stderr)
    for column, name in done.plan.theirs.items():
        if name not in done.seen and done.rows:
            print(f"valossa-ingest: no row has a {name!r} for {column}", file=sys.stderr)
    if as_json:
        output.document(
            {
                "rows": done.rows,
                "inserted": done.done.inserted,
                "updated": done.done.updated,
                "skipped": done.done.skipped,
                "left": done.done.left,
                "rejected": done.reasons,
            }
        )
        return
    numbers: dict[str, object] = {"rows read": done.rows, "added": done.done.inserted}
    if done.args.update:
        numbers["updated"] = done.done.updated
    for label, counts in (("skipped", done.done.skipped), ("left", done.done.left)):
        numbers |= {f"{label}, {reason}": number for reason, number in counts.items()}
    numbers |= {f"rejected, {reason}": number for reason, number in done.reasons.items()}
    output.pairs(numbers)
    if done.reasons and done.rejects is None:
        print(
            "valossa-ingest: --rejects FILE keeps every reject with line and reason",
            file=sys.stderr,
        )

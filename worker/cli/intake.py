"""``add`` and ``import``: lists of videos into the queue."""

import argparse
import asyncio
import getpass
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Connection

from worker import log, wiring
from worker.cli import exits, output
from worker.core.intake import COLUMNS, Plan, RejectedError, admit
from worker.db import Database, DatabaseProblem
from worker.formats import FormatError, Reading, Reject, Row, read
from worker.settings import Loaded, Settings
from worker.store import intake
from worker.store.intake import Intake

CHUNK = 1_000
"""Rows that one write transaction checks and inserts."""

REASONS_SHOWN = 10


@dataclass(slots=True)
class Import:
    """One import on its way: its plan, what became of the rows, where rejects go."""

    args: argparse.Namespace
    plan: Plan
    database: Database
    rejects: TextIO | None
    who: str
    done: Intake = field(default_factory=Intake)
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unused: dict[str, str | None] = field(default_factory=dict)
    stopped: bool = False


def add(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Enqueue one video, print its id."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    given = {column: getattr(args, column) for column in COLUMNS}
    plan = Plan(theirs={}, fixed={}, margin=_margin(loaded))
    try:
        row = admit(given, plan, wiring.CLOCK.now())
        video_id, skipped = asyncio.run(_add(loaded, row, allow=args.allow_duplicates))
    except RejectedError as error:
        return exits.complain([str(error)], exits.USAGE)
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    if args.json:
        output.document({"id": video_id, "skipped": skipped})
    elif video_id is not None:
        print(video_id)
    if skipped:
        return exits.complain(
            [f"not added: {skipped} (--allow-duplicates adds it)"], exits.PROBLEMS
        )
    return exits.OK


async def _add(
    loaded: Loaded, row: Mapping[str, object], *, allow: bool
) -> tuple[int | None, str | None]:
    """The new video's id, or why it was skipped."""
    now = wiring.CLOCK.now()

    def put(connection: Connection) -> tuple[int | None, str | None]:
        done = (intake.add_all if allow else intake.add_new)(connection, [row], now)
        if not done.inserted:
            return None, next(iter(done.skipped))
        return intake.newest_id(connection), None

    async with wiring.made_database(loaded.settings) as database:
        return await database.write(put, "to add a video")


def import_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Enqueue lists; what cannot be taken is named with line and reason."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    try:
        plan = Plan(theirs=_split(args.map), fixed=_split(args.set), margin=_margin(loaded))
        done = asyncio.run(import_all(args, loaded.settings, plan))
    except (FormatError, ValueError) as error:
        return exits.complain([str(error)], exits.USAGE)
    except OSError as error:
        return exits.complain([f"{error.filename}: {error.strerror}"], exits.USAGE)
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    report(done, as_json=args.json)
    if done.stopped:
        return exits.complain(
            ["stopped; what was read so far is in the queue, the same command goes on"],
            exits.INTERRUPTED,
        )
    return exits.PROBLEMS if done.reasons else exits.OK


def _margin(loaded: Loaded) -> timedelta:
    return timedelta(seconds=loaded.settings.url_margin_seconds)


def _split(pairs: Sequence[str]) -> dict[str, str]:
    """``COLUMN=VALUE`` arguments. Raises ValueError with the columns that there are."""
    split = {}
    for pair in pairs:
        column, equals, value = pair.partition("=")
        if column not in COLUMNS or not equals:
            raise ValueError(f"{pair!r}: write COLUMN=…, COLUMN being one of {', '.join(COLUMNS)}")
        split[column] = value
    return split


async def import_all(args: argparse.Namespace, settings: Settings, plan: Plan) -> Import:
    """Read every file into the queue. Raises FormatError, ValueError, OSError, DatabaseProblem."""
    with ExitStack() as stack:
        streams = [(name, stack.enter_context(_opened(name))) for name in args.files]
        rejects = stack.enter_context(_written(args.rejects)) if args.rejects else None
        async with wiring.made_database(settings) as database:
            going = Import(args, plan, database, rejects, f"person:{getpass.getuser()}")
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _stop, going)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _stop, going)
            with _display() as shown:
                for name, stream in streams:
                    await _import_one(going, name, stream, shown)
    return going


def _stop(going: Import) -> None:
    """The chunk in hand is finished, the next is not begun."""
    going.stopped = True


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as stream:
        yield stream


def _written(name: str) -> TextIO:
    return Path(name).open("w", encoding="utf-8")


@contextmanager
def _display() -> Iterator[Progress]:
    """A line of counts on a terminal."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield shown


async def _import_one(going: Import, name: str, stream: BinaryIO, shown: Progress) -> None:
    reading = read(stream)
    if reading.columns is not None:
        _look_at(going, name, reading.columns)
    task = shown.add_task(name)
    while not going.stopped and (chunk := list(islice(reading.records, CHUNK))):
        await _import_chunk(going, name, reading, chunk)
        done = going.done
        told = f"{done.inserted:,} added, {done.updated:,} updated"
        skipped = done.skipped.total() + done.left.total()
        rejected = going.reasons.total()
        shown.update(
            task, description=f"{name}: {told}, {skipped:,} skipped, {rejected:,} rejected"
        )


def _look_at(going: Import, name: str, columns: Sequence[str]) -> None:
    """Which columns are used, and a list without addresses is none. Raises ValueError."""
    if "url" not in going.plan.named(columns):
        raise ValueError(
            f"{name} has no column {going.plan.source('url')!r} for url; it has "
            f"{', '.join(columns) or 'none'}: name it with --map url=THEIRS"
        )
    going.unused |= going.plan.unused(columns)


async def _import_chunk(
    going: Import, name: str, reading: Reading, chunk: Sequence[Row | Reject]
) -> None:
    rows = [record for record in chunk if isinstance(record, Row)]
    if reading.columns is None and rows:
        columns = list(dict.fromkeys(column for row in rows for column in row.values))
        if going.rows == 0:
            _look_at(going, name, columns)
        going.unused |= going.plan.unused(columns)
    going.rows += len(chunk)
    now, ready = wiring.CLOCK.now(), []
    for record in chunk:
        if isinstance(record, Reject):
            _reject(going, name, record.line, record.reason, record.text)
            continue
        try:
            ready.append((record, admit(record.values, going.plan, now)))
        except RejectedError as error:
            _reject(going, name, record.line, str(error), record.values)
    admitted = [row for _, row in ready]
    named = going.plan.named(column for record, _ in ready for column in record.values)
    going.done.add(
        await going.database.write(
            lambda connection: _put(connection, going, admitted, named, now), "to import a chunk"
        )
    )


def _put(
    connection: Connection,
    going: Import,
    rows: Sequence[Mapping[str, object]],
    named: Sequence[str],
    now: datetime,
) -> Intake:
    if going.args.update:
        return intake.add_or_update(connection, rows, named, now, going.who)
    if going.args.allow_duplicates:
        return intake.add_all(connection, rows, now)
    return intake.add_new(connection, rows, now)


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
    return reason.split(" ended ", maxsplit=1)[0].split(" ends too soon", maxsplit=1)[0][:120]


def report(done: Import, *, as_json: bool) -> None:
    """What became of the rows."""
    for name, meant in done.unused.items():
        hint = f": did you mean --map {meant}={name}?" if meant else ""
        print(f"valossa-ingest: column {name!r} was not used{hint}", file=sys.stderr)
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

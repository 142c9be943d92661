"""Run ``import``: read lists of videos into the queue."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from sqlalchemy import Connection

from worker import opening
from worker.cli import exits, output
from worker.cli.commands.import_files import (
    Admitted,
    admit_all,
    begun,
    found_files,
    must_have_url,
    next_chunk,
    opened,
    written,
)
from worker.cli.commands.import_terms import lists_of, mapping_of, way_on
from worker.cli.commands.interruptible import StoppedError, StopSignal, stoppable
from worker.cli.commands.preflight import findings
from worker.cli.invocation import Invocation
from worker.cli.session import person
from worker.core.import_row import LONGEST_BATCH, ImportMapping
from worker.core.preflight import Compared, Tally, doubtful, kind_of
from worker.core.redact import readable
from worker.core.transfer import amount
from worker.db.address import DatabaseProblem, File, address_of
from worker.db.database import BAD_VALUE, Database, place_of, refusal
from worker.files.looking import look
from worker.files.typed import Place
from worker.formats import FormatError, Reading, Row
from worker.settings import Settings
from worker.store import imports, rehearsal
from worker.store.bulk import NewVideo
from worker.store.holders import REASONS
from worker.store.relocation import is_empty

REASONS_SHOWN = 10

HANDOVER_SECONDS = 0.0002
"""For which a thread of Python keeps the others waiting: a look into the database ends in a tenth
of that, and would wait for Python's usual 5 ms while the next chunk is checked.
"""


@dataclass(slots=True)
class Import:
    """One import in progress. ``show`` shows a text for a list by its name; ``database`` is the
    ``queue``, or where a dry run tries what would become of it; ``is_new``: the queue was empty.
    """

    args: argparse.Namespace
    mapping: ImportMapping
    database: Database
    queue: Database
    place: str
    is_new: bool
    options: imports.ImportOptions
    rejects: TextIO | None
    stop: StopSignal
    roots: Sequence[bytes]
    show: Callable[[str, str], None]
    counts: imports.Intake = field(default_factory=imports.Intake)
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    compared: Compared = field(default_factory=Compared)
    tally: Tally = field(default_factory=Tally)


def import_(call: Invocation) -> int:
    """Enqueue lists, and name the rows that are rejected with line and reason."""
    args = call.args
    sys.setswitchinterval(HANDOVER_SECONDS)
    try:
        with stoppable() as stop:
            done = asyncio.run(import_all(args, call.settings, stop))
    except (StoppedError, asyncio.CancelledError):
        return 128 + stop.signal
    except (FormatError, ValueError) as error:
        return exits.complain([str(error)], exits.USAGE)
    except OSError as error:
        name = error.filename or "reading or writing"
        return exits.complain([f"{name}: {error.strerror}"], exits.USAGE)
    report(done, as_json=args.json)
    if done.stop.signal:
        told = f"what was read so far is in the queue; {way_on(args)}"
        told = "a dry run writes nothing into the queue" if args.dry_run else told
        return exits.complain([f"stopped; {told}"], 128 + done.stop.signal)
    return exits.PROBLEMS if done.reasons else exits.OK


async def import_all(args: argparse.Namespace, settings: Settings, stop: StopSignal) -> Import:
    """Read every file into the queue, after checking the beginning of each. Raises StoppedError if
    ``stop`` is heard before any row was read, CancelledError at a second signal, FormatError,
    ValueError, OSError, DatabaseProblem.
    """
    mapping, names, counts = mapping_of(args, settings), lists_of(args), imports.Intake()
    with stop.cancelling(), ExitStack() as stack:
        if not args.dry_run:
            stack.enter_context(_counted(counts, args))
        readings = [
            begun(name, stack.enter_context(opened(name, stop)), args.encoding, mapping)
            for name in args.files
        ] + ([found_files(args.glob, args.media_id)] if args.glob else [])
        filled, address = settings, address_of(settings.database_url)
        queue_file = address.path if isinstance(address, File) else None
        rejects = args.rejects and stack.enter_context(
            written(args.rejects, args.files, queue_file)
        )
        if args.dry_run:
            folder = stack.enter_context(TemporaryDirectory(prefix="valossa-ingest-"))
            filled = replace(settings, database_url=f"{folder}/videos.db")
        async with (
            opening.made_database(filled) as database,
            opening.read_beside(database, settings) as queue,
        ):
            place, is_new = await queue.read(lambda c: (place_of(c, address), is_empty(c)))
            allowed = args.allow_duplicates
            options = await queue.read(
                lambda c: imports.options(c, person(), database.now(), allow_duplicates=allowed)
            )
            with _display() as show:
                current = Import(
                    *(args, mapping, database, queue, place, is_new, options, rejects, stop),
                    *(settings.roots, show, counts),
                )
                for reading in readings:
                    _note_columns(current, reading.columns or ())
                for name, reading in zip(names, readings, strict=True):
                    await _import_one(current, name, reading)
    return current


@contextmanager
def _counted(counts: imports.Intake, args: argparse.Namespace) -> Iterator[None]:
    """Tell how many rows were taken if something cuts the import."""
    try:
        yield
    except (OSError, DatabaseProblem):
        if taken := counts.inserted + counts.updated:
            told = f"rows in the queue before it stopped: {taken}; {way_on(args)}"
            exits.complain([told])
        raise


def _display() -> AbstractContextManager[Callable[[str, str], None]]:
    if not sys.stderr.isatty():
        return nullcontext(lambda _, __: None)
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    return terminal.lines()


async def _import_one(current: Import, name: str, reading: Reading) -> None:
    """Read and check a chunk while the one before it is written. Reading may block this thread for
    long on a pipe, so it waits until ``_bring`` allows it.
    """
    current.show(name, "")
    place = Place(Path.cwd() if name == "-" else Path.cwd() / Path(name).parent, current.roots)
    checked = reading.columns is not None
    writing = asyncio.create_task(asyncio.sleep(0))  # nothing is being written yet
    try:
        while chunk := next_chunk(reading, current.stop):
            if reading.columns is None and (rows := [r for r in chunk if isinstance(r, Row)]):
                columns = list(dict.fromkeys(column for row in rows for column in row.values))
                if not checked:
                    must_have_url(name, columns, current.mapping)
                checked = True
                for each in dict.fromkeys(tuple(row.values) for row in rows):
                    _note_columns(current, each)
            admitted = admit_all(chunk, current.mapping, place, current.database.now())
            await writing
            current.show(name, _progress(current))
            may_block = asyncio.Event()
            writing = asyncio.create_task(_bring(current, name, admitted, may_block))
            await may_block.wait()
    except asyncio.CancelledError:
        writing.cancel()
        raise
    finally:
        await writing
        current.show(name, _progress(current))


def _note_columns(current: Import, columns: Sequence[str]) -> None:
    for name, meant in current.mapping.unused(columns).items():
        if name not in current.seen:
            again = "Rows that are in already take it with --update"
            hint = f": did you mean --map {meant}={name}? {again}" if meant else ""
            output.paragraph(f"valossa-ingest: column {name!r} was not used{hint}", file=sys.stderr)
    current.seen.update(columns)


def _progress(current: Import) -> str:
    counts = current.counts
    skipped = counts.skipped.total() + counts.left.total()
    return (
        f"{counts.inserted:,} added, {counts.updated:,} updated, {skipped:,} skipped, "
        f"{current.reasons.total():,} rejected"
    )


async def _bring(current: Import, name: str, chunk: Admitted, may_block: asyncio.Event) -> None:
    """Write the rows of a chunk into the queue, and its rejects where the user wants them. Set
    ``may_block`` when this thread may block: once a transaction runs in a thread of its own,
    otherwise at the end, since a blocked transaction would hold the queue's lock.
    """
    loop = asyncio.get_running_loop()
    file, day = "stdin" if name == "-" else Path(name).name, f"{current.options.began:%Y-%m-%d}"
    batch = f"{readable(file)[:LONGEST_BATCH]} {day}"
    options = replace(current.options, batch=batch, changed=current.counts.changed)
    widths, newest, named = current.options.widths, current.options.last_id, []
    if current.queue is not current.database:
        named = await current.queue.read(
            lambda c: rehearsal.named_by(c, chunk.rows, widths, newest)
        )

    def put(rows: Sequence[NewVideo], connection: Connection, _: datetime) -> imports.Intake:
        if current.database.runs_in_thread:
            loop.call_soon_threadsafe(may_block.set)
        rehearsal.put(connection, named)
        bring = imports.add_or_update if current.args.update else imports.add
        return bring(connection, rows, chunk.at, options)

    try:
        current.rows += len(chunk.rows) + len(chunk.rejected)
        for line, reason, row in chunk.rejected:
            _pass_over(current, name, line, "rejected", reason, row)
        passed = await _put(current, chunk.rows, put)
        current.notes += chunk.notes
        _judge(current, name, chunk, {place for place, _, _ in passed})
        for place, what, reason in sorted(passed):
            record = chunk.records[place]
            _pass_over(current, name, record.line, what, reason, record.values)
    finally:
        may_block.set()


async def _put(
    current: Import,
    rows: Sequence[NewVideo],
    put: Callable[[Sequence[NewVideo], Connection, datetime], imports.Intake],
) -> list[tuple[int, str, str]]:
    """Write rows at once, and return those that were passed over. Where the database refuses one,
    write by halves: it alone is a reject then (law 14). Raises DatabaseProblem.
    """
    try:
        done = await opening.change(current.database, partial(put, rows), "to import a chunk")
    except BAD_VALUE as error:
        if not rows:
            raise
        if len(rows) == 1:
            return [(0, "rejected", refusal(error))]
    else:
        current.counts.add(done)
        return done.passed
    middle = len(rows) // 2
    first, rest = [await _put(current, half, put) for half in (rows[:middle], rows[middle:])]
    return first + [(middle + place, what, reason) for place, what, reason in rest]


def _judge(current: Import, name: str, chunk: Admitted, passed: set[int]) -> None:
    """Tally what speaks against the rows that were taken, but for those that have a job."""
    for place, (row, record) in enumerate(zip(chunk.rows, chunk.records, strict=True)):
        if place not in passed and row.get("url") and not row.get("job_id"):
            seen = look(row, current.roots, chunk.at)
            found = chain(doubtful(row), seen.found, current.compared.look(row))
            current.tally.add(f"{name}:{record.line}", row["url"], found)
            current.tally.size += seen.size


def _pass_over(current: Import, name: str, line: int, what: str, reason: str, row: object) -> None:
    """Write a row that was not taken to the file of rejects; without one, print the first ones."""
    if what == "rejected":
        current.reasons[kind_of(reason)] += 1
    if current.rejects is not None:
        record = {"file": name, "line": line, "kind": what, "reason": reason, "row": row}
        print(json.dumps(record, ensure_ascii=True), file=current.rejects)
    elif what == "rejected" and current.reasons.total() <= REASONS_SHOWN:
        output.paragraph(f"{name}:{line}: {reason}", file=sys.stderr)


def report(done: Import, *, as_json: bool) -> None:
    """Print the counts, after the columns that were not found."""
    _print_columns(done)
    counts = done.counts
    if as_json:
        told = {name: getattr(counts, name) for name in ("inserted", "updated", "skipped", "left")}
        told |= {"brought_back": len(counts.brought_back), "rejected": done.reasons}
        told |= {"dry_run": done.args.dry_run, "found": findings(done.tally)}
        told |= {"bytes_to_upload": done.tally.size}
        output.document({"rows": done.rows, **told, "notes": done.notes, "database": done.place})
        return
    empty = ", empty until now" if done.is_new else ""
    empty += "; a dry run, which writes nothing there" if done.args.dry_run else ""
    numbers: dict[str, object] = {"database": done.place + empty}
    numbers |= {"rows read": done.rows, "added": counts.inserted}
    if done.args.update:
        numbers["updated"] = counts.updated
    if counts.brought_back:
        numbers["cancelled, pending again"] = len(counts.brought_back)
    by_reason = (("skipped", counts.skipped), ("left", counts.left), ("rejected", done.reasons))
    for label, reasons in by_reason:
        numbers |= {f"{label}, {reason}": number for reason, number in reasons.items()}
    numbers |= {f"{each.weight}, {each.reason}": n for each, n in done.tally.sorted()}
    if done.tally.size:
        numbers["to upload"] = amount(done.tally.size, None)
    hidden = "" if done.rejects else _hidden(done)
    if hidden and not done.reasons:
        numbers["not shown"] = f"{hidden}; --rejects FILE keeps them"
    output.pairs(numbers)
    if alike := counts.skipped[REASONS["unsigned_url"]]:
        them = f"{alike} look like videos that are there already under another signature"
        exits.complain([f"{them}: --allow-duplicates takes them, and may buy them twice"])
    if done.reasons and done.rejects is None:
        more = f", skipped and left rows too; not shown: {hidden}" if hidden else ""
        exits.complain([f"--rejects FILE keeps every reject with line and reason{more}"])


def _print_columns(done: Import) -> None:
    for column, name in done.mapping.theirs.items():
        if name not in done.seen and done.rows:
            output.paragraph(f"valossa-ingest: no row has a {name!r} for {column}", file=sys.stderr)
    for note, number in done.notes.items():
        output.paragraph(f"valossa-ingest: {note} (rows: {number})", file=sys.stderr)


def _hidden(done: Import) -> str:
    """Return how many rows were passed over that no line names."""
    rejected, counts = done.reasons.total() - REASONS_SHOWN, done.counts
    numbers = {"rejected": rejected, "skipped": counts.skipped.total(), "left": counts.left.total()}
    return ", ".join(f"{number} {what}" for what, number in numbers.items() if number > 0)

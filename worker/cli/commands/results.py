"""``results``: what is stored of finished jobs: listed, verified, fetched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_change, open_to_look
from worker.runner.fetcher import Fetcher
from worker.runner.result_files import fingerprint
from worker.store import results as store

COLUMNS = ("video_id", "job_id", "type", "state", "path", "bytes", "sha256", "fetched_at", "error")
ON_TERMINAL = ("video_id", "state", "bytes", "result", "error")
SCREEN = 1_000
"""Results that a terminal gets."""


def results(call: Invocation) -> int:
    """Do what the first word says."""
    args, folder = call.args, Path(call.settings.results_dir or "")
    if args.missing and args.what != "fetch":
        return exits.complain(["--missing belongs to results fetch"], exits.USAGE)
    if args.what != "list" and call.settings.results_dir is None:
        return exits.complain(["results_dir is not set: name the folder of the results"])
    if args.what == "fetch":
        return _fetch(call, folder)
    with open_to_look(call.settings) as session:
        rows = chain.from_iterable(_pages(session))
        return _verify(call, folder, rows) if args.what == "verify" else _list(call, rows)


def _pages(session: Session) -> Iterator[list[dict[str, Any]]]:
    """Yield all results by pages, each in a transaction of its own."""
    after = ("", "")

    def read(connection: Connection, _: datetime) -> list[dict[str, Any]]:
        return store.page(connection, after)

    while page := session.read(read):
        yield page
        after = page[-1]["job_id"], page[-1]["type"]


def _list(call: Invocation, rows: Iterator[dict[str, Any]]) -> int:
    if call.args.json:
        output.array(rows)
        return exits.OK
    if output.on_terminal():
        output.table(ON_TERMINAL, map(_short, islice(rows, SCREEN)), whole=ON_TERMINAL[:-1])
    else:
        output.table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    if next(rows, None):
        output.line("… more: pipe it, or --json")
    return exits.OK


def _short(row: Mapping[str, Any]) -> list[object]:
    result = row["path"] or f"{row['job_id']} {row['type']}"
    return [row["video_id"], row["state"], row["bytes"], result, row["error"]]


def _verify(call: Invocation, folder: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Compare every stored file with its row, and print what differs."""
    wrong, checked = [], 0
    for row in rows:
        checked += row["state"] == "stored"
        if row["state"] == "stored" and (fault := _fault(folder, row)):
            wrong.append({"path": row["path"], "fault": fault})
    right = checked - len(wrong)
    if call.args.json:
        output.document({"verified": right, "wrong": wrong})
    else:
        output.table(("fault", "path"), ((each["fault"], each["path"]) for each in wrong))
        output.line(f"{checked:,} checked: {right:,} as they were fetched, {len(wrong):,} wrong")
    way = "move what is changed or cut away, then: valossa-ingest results fetch --missing"
    return exits.complain([way], exits.PROBLEMS) if wrong else exits.OK


def _fault(folder: Path, row: Mapping[str, Any]) -> str | None:
    try:
        found = fingerprint(folder, row["path"])
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else error.strerror
    if found.sha256 == row["sha256"]:
        return None
    return "cut" if found.bytes < row["bytes"] else "changed"


def _state(folder: Path, row: Mapping[str, Any]) -> str:
    """Return the state of a result by its file."""
    if row["state"] == "stored":
        is_there = (folder / row["path"]).exists()
    else:
        is_there = row["sha256"] is not None and _fault(folder, row) is None
    return "stored" if is_there else "wanted"


def _want(session: Session, folder: Path, types: Sequence[str]) -> None:
    """Want what is not there, and nothing that is."""
    for page in _pages(session):
        states = [(row, state) for row in page if (state := _state(folder, row)) != row["state"]]

        def want(
            connection: Connection, now: datetime, states: list[tuple[Any, str]] = states
        ) -> None:
            for row, state in states:
                at = now if state == "wanted" else None
                anew = {"state": state, "tries": 0, "error": None, "next_try_at": at}
                store.write(connection, row["job_id"], row["type"], **anew)

        session.write(want, "to want results")
    session.write(lambda connection, now: store.want(connection, types, now), "to want results")


def _unmounted(session: Session, folder: Path) -> str | None:
    """Return why this cannot be the folder of what is stored: it has no month of it."""
    month = None
    for row in chain.from_iterable(_pages(session)):
        if row["state"] == "stored":
            month = (folder / row["path"]).parent
            if month.exists():
                return None
    way = f"mount its disk, or name the right folder; if they are lost, mkdir -p {month} first"
    return month and f"results_dir = {folder} has none of the results that are stored: {way}"


def _fetch(call: Invocation, folder: Path) -> int:
    """Fetch what is wanted; with ``--missing`` all that is not there."""
    key = call.key()
    with open_to_change(call.settings) as session:
        fetcher = Fetcher(session.reconciler(key))
        if call.args.missing:
            if (why := _unmounted(session, folder)) is not None:
                return exits.complain([why], exits.PROBLEMS)
            _want(session, folder, call.settings.result_types)
        session.run(fetcher.fetch_each())
        counts = session.read(lambda connection, _: store.counts(connection))
    output.document(counts) if call.args.json else output.pairs(counts)
    if fetcher.held is not None:
        return exits.complain([f"{fetcher.held}: make room, or mend the folder"], exits.PROBLEMS)
    if fetcher.refused is not None:
        way = "valossa-ingest check --online says whether key and address are right"
        return exits.complain([f"{fetcher.refused}: {way}"], exits.KEY)
    if counts["failed"]:
        return exits.PROBLEMS
    return exits.LATER if counts["wanted"] else exits.OK

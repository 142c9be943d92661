"""``results``: what is stored of finished jobs: listed, verified, fetched."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_change, open_to_look
from worker.runner.fetcher import Fetcher
from worker.runner.result_files import fingerprint
from worker.store import results as store

COLUMNS = ("video_id", "job_id", "type", "state", "path", "bytes", "sha256", "fetched_at", "error")


def results(call: Invocation) -> int:
    """Do what the first word says."""
    args, folder = call.args, call.settings.results_dir
    if args.missing and args.what != "fetch":
        return exits.complain(["--missing belongs to: results fetch"], exits.USAGE)
    if args.what == "list":
        return _list(call)
    if folder is None:
        return exits.complain(["results_dir is not set: name the folder of the results"])
    return (_verify if args.what == "verify" else _fetch)(call, Path(folder))


def _list(call: Invocation) -> int:
    with open_to_look(call.settings) as session:
        rows = session.read(lambda c, _: [dict(row) for row in store.every(c)])
    if call.args.json:
        output.document(rows)
    else:
        output.table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    return exits.OK


def _verify(call: Invocation, folder: Path) -> int:
    """Compare every stored file with its row, and print what differs."""
    with open_to_look(call.settings) as session:
        rows = session.read(lambda c, _: [r for r in store.every(c) if r["state"] == "stored"])
    found = [(row, _fault(folder, row)) for row in rows]
    wrong = [{"path": r["path"], "job_id": r["job_id"], "fault": why} for r, why in found if why]
    if call.args.json:
        output.document({"verified": len(rows), "wrong": wrong})
        return exits.PROBLEMS if wrong else exits.OK
    for each in wrong:
        output.line(f"{folder / str(each['path'])}: {each['fault']}")
    output.line(f"{len(rows):,} verified, {len(wrong):,} wrong")
    if wrong:
        way = "move what is changed away, then valossa-ingest results fetch --missing"
        return exits.complain([way], exits.PROBLEMS)
    return exits.OK


def _fault(folder: Path, row: Mapping[str, Any]) -> str | None:
    try:
        found = fingerprint(folder, row["path"])
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror
    if found.sha256 == row["sha256"]:
        return None
    return "cut" if found.bytes < row["bytes"] else "changed"


def _fetch(call: Invocation, folder: Path) -> int:
    """Fetch what is wanted; with ``--missing`` all that is not there."""
    key = call.key()
    with open_to_change(call.settings) as session:
        fetcher = Fetcher(session.reconciler(key), folder)
        if call.args.missing:
            rows = session.read(lambda c, _: list(store.every(c)))
            lost = [r for r in rows if r["path"] and not (folder / r["path"]).exists()]

            def want(connection: Connection, now: datetime) -> None:
                store.want(connection, call.settings.result_types, now)
                store.want_again(connection, [(r["job_id"], r["type"]) for r in lost], now)

            session.write(want, "to want results")
        limiter, clock = fetcher.reconciler.limiter, fetcher.reconciler.transaction.clock
        while fetcher.held is None and session.read(store.due) is not None:
            again_at = session.run(fetcher.fetch())
            session.run(limiter.wait_until(clock.until(again_at)))
        counts = session.read(lambda c, _: store.counts(c))
    output.document(counts) if call.args.json else output.pairs(counts)
    if fetcher.held is not None:
        return exits.complain([f"{fetcher.held}: make room, or mend the folder"], exits.PROBLEMS)
    if counts["failed"]:
        return exits.PROBLEMS
    return exits.LATER if counts["wanted"] else exits.OK

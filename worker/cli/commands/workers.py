"""``workers``: the runs on the queue, since when, where, and their claims in flight."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.db.column_types import EPOCH
from worker.store.workers import WorkerStatus, everyone


def workers(call: Invocation) -> int:
    """Print every worker that has a row or a claim in flight."""
    with open_to_look(call.settings) as session:
        found, now = session.read(lambda c, now: (everyone(c), now))
    rows = [_row(worker, now) for worker in found]
    if call.args.json:
        output.document([output.keyed(row) for row in rows])
    elif rows:
        if output.on_terminal():  # the table would be too wide
            for row in rows:
                output.paragraph(_sentence(**row))
        else:
            output.table(tuple(rows[0]), (tuple(row.values()) for row in rows))
        for sentence in _prospects(found, now):
            print()
            output.paragraph(sentence)
    else:
        output.paragraph(
            "nobody works on this queue, and nothing is in flight: valossa-ingest run or "
            "valossa-ingest drain begins"
        )
    return exits.OK


def _row(worker: WorkerStatus, now: datetime) -> dict[str, object]:
    """Return a row by its columns. A heartbeat from the future is 0 s old."""
    member, seen_at = worker.member, worker.seen_at
    return {
        "worker": worker.id,
        "host": member and member.host,
        "pid": member and member.pid,
        "command": member and member.command,
        "since": member and member.started_at,
        "in flight": worker.in_flight,
        "leases end": worker.leases_end,
        "seen at": seen_at,
        "seen ago": max(now - seen_at, timedelta(0)) if seen_at and seen_at > EPOCH else None,
        "state": _state(worker, now),
    }


def _sentence(worker: object, state: object, **others: object) -> str:
    told = (f"{n} {output.text(v)}" for n, v in others.items() if v is not None)
    return f"worker {worker} is {state}: {', '.join(told)}"


def _state(worker: WorkerStatus, now: datetime) -> str:
    known = "alive" if worker.is_alive(now) else "silent"
    return "unknown" if worker.member is None else known


def _prospects(found: Sequence[WorkerStatus], now: datetime) -> Iterator[str]:
    for worker in (each for each in found if not each.is_alive(now)):
        about = f"worker {worker.id} is {_state(worker, now)}"
        if worker.leases_end is None:
            yield f"{about} and has nothing in flight: a run that begins a day later forgets it"
            continue
        yield (
            f"{about}: unless it still settles its {worker.in_flight} in flight, they are in doubt "
            f"by themselves when the last lease ends, at {output.text(worker.leases_end)} UTC, in "
            "whatever run is there then; nothing is to be done"
        )

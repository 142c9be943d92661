"""``workers``: who works on the queue, since when, where, and what is in flight."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from worker.cli import exits, output
from worker.cli.session import look
from worker.settings_sources import Loaded
from worker.store import workers as workers_store
from worker.store.workers import WorkerStatus

COLUMNS = (
    "worker",
    "host",
    "pid",
    "command",
    "since",
    "in flight",
    "leases end",
    "seen at",
    "seen ago",
    "state",
)

NOBODY = (
    "nobody works on this queue, and nothing is in flight: valossa-ingest run or valossa-ingest "
    "drain begins"
)


def workers(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Everybody with a row, and every claim that is in flight."""

    def tell(seen: tuple[list[WorkerStatus], datetime]) -> int:
        fellows, now = seen
        rows = [_row(fellow, now) for fellow in fellows]
        if args.json:
            names = [name.replace(" ", "_") for name in COLUMNS]
            output.document([dict(zip(names, row, strict=True)) for row in rows])
        elif rows:
            output.table(COLUMNS, rows, whole=("worker", "state"))
            for sentence in _comfort(fellows, now):
                print()
                output.paragraph(sentence)
        else:
            output.paragraph(NOBODY)
        return exits.OK

    return look(loaded, lambda c, now: (workers_store.everyone(c), now), tell)


def _row(fellow: WorkerStatus, now: datetime) -> Sequence[object]:
    """What stands in ``COLUMNS``."""
    member = fellow.member
    return (
        fellow.id,
        member and member.host,
        member and member.pid,
        member and member.command,
        member and member.started_at,
        fellow.in_flight,
        fellow.leases_end,
        fellow.seen_at,
        _ago(fellow, now),
        _state(fellow, now),
    )


def _ago(fellow: WorkerStatus, now: datetime) -> timedelta | None:
    """How old its last sign of life is; one from the future is from now, as far as we can say."""
    return None if fellow.seen_at is None else max(now - fellow.seen_at, timedelta(0))


def _state(fellow: WorkerStatus, now: datetime) -> str:
    if fellow.member is None:
        return "unknown"
    return "alive" if fellow.is_alive(now) else "silent"


def _comfort(fellows: Sequence[WorkerStatus], now: datetime) -> Iterator[str]:
    """What becomes of those that show no life, and of their videos: a sentence each."""
    for fellow in fellows:
        if fellow.is_alive(now):
            continue
        told = f"worker {fellow.id} is {_state(fellow, now)}"
        if fellow.leases_end is None:
            yield f"{told} and has nothing in flight: a run that begins a day later forgets it"
            continue
        yield (
            f"{told}: unless it still settles its {fellow.in_flight} in flight, they are in doubt "
            f"by themselves when the last lease ends, at {output.text(fellow.leases_end)} UTC, in "
            "whatever run is there then; nothing is to be done"
        )

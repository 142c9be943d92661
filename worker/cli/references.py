"""Read the filters that commands share, and report references that fit no video or too many."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from worker import wiring
from worker.cli import exits
from worker.core.model import State
from worker.core.moments import Ago
from worker.core.redact import clean, readable
from worker.store import search


def filter_of(args: argparse.Namespace) -> search.Filter:
    """Return the shared filters as a search, relative times resolved now."""
    return replace(
        search.called(map(readable, args.references)),
        states=tuple(State(state) for state in args.state),
        job_status=tuple(args.job_status),
        batch=args.batch and readable(args.batch),
        error_like=args.error_like and clean(args.error_like),
        since=args.since and resolved(args.since),
        until=args.until and resolved(args.until),
    )


def resolved(moment: datetime | Ago) -> datetime:
    """Return the moment that a flag means now (UTC)."""
    return moment.at(wiring.CLOCK.now()) if isinstance(moment, Ago) else moment


def named(connection: Connection, args: argparse.Namespace) -> dict[str, list[int]]:
    """Return the ids of the videos that each reference means; an empty list if none."""
    return search.named(connection, map(readable, args.references))


def complain_missing(found: Mapping[str, Sequence[object]]) -> int:
    """Print a line for each reference without a video. Return the exit code."""
    missing = [no_video(reference) for reference, ids in found.items() if not ids]
    return exits.complain(missing, exits.PROBLEMS) if missing else exits.OK


def no_video(reference: str) -> str:
    """Return the sentence for a reference without a video."""
    address = "address, " if "://" in reference else ""
    return f"no video has {reference!r} as {address}id, media id, request id or job id"


def ambiguous(found: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a line for each number that is one video's id and another name of others."""
    return [
        f"{reference!r} is the id of one video and another name of others: say which, "
        + " or ".join(f"{search.ONLY_ID}{number}" for number in ids)
        for reference, ids in found.items()
        if search.is_ambiguous(reference, ids)
    ]

"""``preflight``: what would be paid for nothing, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing, filter_of, named
from worker.cli.session import open_to_look
from worker.core.model import State
from worker.core.preflight import Compared, Tally, Weight, judge
from worker.core.transfer import amount
from worker.files.looking import look
from worker.settings import Settings
from worker.store import search
from worker.store.transfers import speed

SHOWN = 5
"""Rows of a finding that a person sees; JSON has the first thousand."""


def preflight(call: Invocation) -> int:
    """Judge the videos of the filters; pending ones, where neither ids nor a state are given."""
    args, wanted = call.args, filter_of(call.args)
    if not (args.state or args.references):
        wanted = replace(wanted, states=(State.PENDING,))
    with open_to_look(call.settings) as session:
        tally, references = session.read(
            lambda c, now: (judged(search.every(c, wanted), call.settings, now), named(c, args))
        )
        per_second = session.read(lambda c, now: upload_speed(c, call.settings, now))
    if args.json:
        sums = {"bytes_to_upload": tally.size, "bytes_per_second": per_second}
        output.document({"judged": tally.hosts.total(), **sums, "found": findings(tally)})
    else:
        show(tally)
        if tally.size:
            output.line(f"to upload: {amount(tally.size, per_second)}")
    return complain_missing(references) or min(tally.number(Weight.SURELY), exits.PROBLEMS)


def judged(rows: Iterable[Mapping[Any, Any]], settings: Settings, now: datetime) -> Tally:
    """Return what speaks against paying for these videos; those that have a job are left out."""
    tally, compared = Tally(), Compared()
    margin = timedelta(seconds=settings.url_margin_seconds)
    for each in rows:
        if each["job_id"] is None:
            row = dict(each)
            seen = look(row, settings.roots, now)
            found = chain(judge(row, now, margin), seen.found, compared.look(row))
            tally.add(row["id"], row["url"], found)
            tally.size += seen.size
    return tally


def upload_speed(connection: Connection, settings: Settings, now: datetime) -> float | None:
    """Return the bytes per second that were measured, else those of the settings."""
    return speed(connection, now) or settings.upload_bytes_per_second


def findings(tally: Tally) -> list[dict[str, object]]:
    """Return the findings of a tally for a program."""
    return [{**asdict(f), "number": n, "rows": tally.rows[f]} for f, n in tally.sorted()]


def show(tally: Tally) -> None:
    """Print the findings of a tally, each with its first rows and the way out."""
    for each, number in tally.sorted():
        rows = ", ".join(map(str, tally.rows[each][:SHOWN])) + ", …" * (number > SHOWN)
        output.paragraph(f"{each.weight}, {number:,}: {each.reason}; {each.remedy} ({rows})")
    output.line(f"{tally.hosts.total():,} judged, {tally.number(Weight.SURELY):,} surely wasted")

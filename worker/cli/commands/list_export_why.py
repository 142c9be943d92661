"""``list``, ``export`` and ``why``: what people ask of many videos."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection, RowMapping

from worker.cli import exits, output
from worker.cli.session import filter_of, look, missing, nobody
from worker.core.advice import kind, remedy
from worker.core.import_row import COLUMNS, EXPORT_ONLY
from worker.core.model import State
from worker.formats import write_csv, write_json_lines
from worker.settings_sources import Loaded
from worker.store import search

EXPORTED = (*COLUMNS, *EXPORT_ONLY)
"""What ``import`` reads, then what people want to know."""

LISTED = ("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error")
JOB_ID = 36
"""Characters of a job id; it is shown whole, to be copied."""

GROUPED = ("videos", "state", "reason", "example", "what helps")


def list_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Videos by the shared filters."""
    wanted = filter_of(args)

    def seen(connection: Connection, _: datetime) -> tuple[list[RowMapping], list[str]]:
        rows = list(islice(search.every(connection, wanted), args.limit))
        return rows, missing(connection, args)

    def tell(found: tuple[list[RowMapping], list[str]]) -> int:
        rows, unknown = found
        if args.json:
            output.document([dict(row) for row in rows])
        elif output.on_terminal():
            told = ([row["id"], row["state"], _name(row), _last(row)] for row in rows)
            output.table(("id", "state", "video", "last"), told, whole=("id", "state", "last"))
        else:
            output.table(LISTED, ([row[name] for name in LISTED] for row in rows))
        return exits.complain(nobody(unknown), exits.PROBLEMS) if unknown else exits.OK

    return look(loaded, seen, tell)


def _name(row: RowMapping) -> object:
    """What a person knows a video by."""
    return row["title"] or row["media_id"] or row["url"]


def _last(row: RowMapping) -> str:
    """What is to be known of a video in half a line: its error, its job, or when it is due."""
    told = output.text(row["error"] or row["job_id"] or f"due {output.text(row['due_at'])}")
    room = max(JOB_ID, output.width() // 2)
    return told if len(told) <= room else f"{told[: room - 1]}…"


def export(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Videos by the shared filters, in the columns that ``import`` reads and a few more."""
    wanted = filter_of(args)
    columns = tuple(args.columns.split(",")) if args.columns else EXPORTED
    wrong = [name for name in columns if name not in EXPORTED]
    if wrong:
        problem = f"no column {', '.join(map(repr, wrong))}: choose from {', '.join(EXPORTED)}"
        return exits.complain([problem], exits.USAGE)
    write = write_json_lines if args.json_lines else write_csv

    def seen(connection: Connection, _: datetime) -> list[str]:
        write(sys.stdout, columns, map(dict, search.every(connection, wanted)))
        return missing(connection, args)

    def tell(unknown: list[str]) -> int:
        return exits.complain(nobody(unknown), exits.PROBLEMS) if unknown else exits.OK

    return look(loaded, seen, tell)


def why(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Failures and doubts by reason, with an example and what helps."""

    def tell(groups: list[dict[str, object]]) -> int:
        if args.json:
            output.document(groups)
        elif output.on_terminal():
            for group in groups:
                _print_group(group)
        else:
            output.table(GROUPED, ([group[name] for name in GROUPED] for group in groups))
        return exits.OK

    return look(loaded, lambda c, _: _groups(c), tell)


def _groups(connection: Connection) -> list[dict[str, object]]:
    """Failures and doubts whose messages differ in the row alone, the largest group first."""
    wanted = search.Filter(states=(State.FAILED, State.IN_DOUBT))
    groups: dict[tuple[str, str], dict[str, object]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for row in search.every(connection, wanted):
        state, error = State(row["state"]), row["error"] or ""
        group = (state, kind(error))
        counts[group] += 1
        groups.setdefault(
            group,
            {
                "state": state,
                "reason": error,
                "example": row["id"],
                "what helps": remedy(state, row["http_status"], error),
            },
        )
    return [{"videos": number, **groups[group]} for group, number in counts.most_common()]


def _print_group(group: Mapping[str, object]) -> None:
    """A group as people read it, where a table would be too wide."""
    output.paragraph(f"{group['videos']} {group['state']}: {output.text(group['reason'])}")
    output.paragraph(f"what helps: {group['what helps']}", "  ")
    output.paragraph(f"an example: valossa-ingest show {group['example']}\n", "  ")
    print()

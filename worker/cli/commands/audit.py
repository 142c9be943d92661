"""``audit``: the API's whole list against the table."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker import opening
from worker.cli import exits, output
from worker.cli.listed import ask_listed, no_list
from worker.cli.session import change, person
from worker.core.audit import Audit, AuditRow, Match, compare
from worker.core.job_list import Listing, Unlisted
from worker.db.database import Database
from worker.runner.reconciler import Reconciler
from worker.settings_sources import Loaded, read_key
from worker.store import audit as store

COLUMNS = ("what", "video", "state", "job_id", "its own job", "job is", "sure")


def audit(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Compare, and change only what is asked for and agreed to."""

    async def look(reconciler: Reconciler, database: Database) -> tuple[Listing, Audit] | Unlisted:
        asked = await reconciler.ask()
        if asked is None:
            return Unlisted(reason="stopped before it was asked")
        shown, asked_at = asked
        if isinstance(shown, Unlisted):
            return shown
        rows = await database.read(lambda c: store.rows(c, shown))
        settle = timedelta(seconds=loaded.settings.doubt_settle_seconds)
        return shown, compare(shown, rows, asked_at - settle)

    def tell(found: tuple[Listing, Audit] | Unlisted) -> int:
        if isinstance(found, Unlisted):
            return no_list(found)
        shown, result = found
        _tell(shown, result, as_json=args.json)
        if result.clean:
            return exits.OK
        if args.adopt:
            return _adopt(args, loaded, [m for m in result.bought if m.sure])
        if args.cancel_duplicates:
            return _cancel(args, loaded, environment, result.duplicates)
        return exits.PROBLEMS

    return ask_listed(loaded, read_key(environment), look, tell)


def _tell(shown: Listing, result: Audit, *, as_json: bool) -> None:
    kinds = {"bought": result.bought, "twice": result.twice, "unknown": result.unknown}
    rows = [_match(kind, match) for kind, matches in kinds.items() for match in matches]
    rows += [_gone(row) for row in result.gone or ()]
    if as_json:
        found = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        output.document(
            {
                "jobs": len(shown.entries),
                "paged": shown.paged,
                "of no video here": result.strangers,
                "found": found,
            }
        )
        return
    if rows:
        output.table(COLUMNS, rows)
    counted = {kind: len(matches) for kind, matches in kinds.items()}
    told = ", ".join(f"{number} {kind}" for kind, number in counted.items())
    gone = "not known, " + shown.paged if shown.paged else len(result.gone or ())
    print(f"{len(shown.entries)} jobs in the API's list: {told}; gone: {gone}")
    if result.strangers:
        print(
            f"{result.strangers} of no video here: another queue with this key, or lists that are"
            " not imported (again)"
        )
    for line in _advice(result):
        print(line)


def _match(kind: str, match: Match) -> Sequence[object]:
    row, entry = match.row, match.entry
    sure = "yes" if match.sure else "perhaps"
    return (kind, row.video_id, row.state, entry.job_id, row.job_id, entry.status, sure)


def _gone(row: AuditRow) -> Sequence[object]:
    return ("gone", row.video_id, row.state, None, row.job_id, None, "yes")


def _advice(result: Audit) -> Sequence[str]:
    """What helps, a line for each kind that was found."""
    lines = {
        "bought: pending, but the API has a job of it; audit --adopt takes it over": result.bought,
        "twice: a second job beside its own; audit --cancel-duplicates cancels what still waits"
        " for analysis, where its own is in the list and has not failed": result.twice,
        "unknown: a job that the video does not know; valossa-ingest reconcile settles those in"
        " doubt, resolve and show help with the others": result.unknown,
        "gone: submitted, but its job is in the list no more; it may have been deleted": (
            result.gone or ()
        ),
    }
    return [line for line, found in lines.items() if found]


def _adopt(args: argparse.Namespace, loaded: Loaded, matches: Sequence[Match]) -> int:
    """Take the jobs over, after asking."""
    if not _agreed(args, f"adopt {len(matches)} jobs", matches):
        return exits.PROBLEMS
    who = person()

    def adopt(connection: Connection, now: datetime) -> int:
        return sum(store.adopt(connection, match, now, who) for match in matches)

    def tell(number: int) -> int:
        _say(args, f"adopted {number}")
        return exits.OK if number == len(matches) else exits.PROBLEMS

    return change(loaded, adopt, "to adopt jobs", tell)


def _cancel(
    args: argparse.Namespace,
    loaded: Loaded,
    environment: Mapping[str, str],
    matches: Sequence[Match],
) -> int:
    """Cancel second jobs with the API, after asking."""
    if not _agreed(args, f"cancel {len(matches)} jobs at the API", matches):
        return exits.PROBLEMS

    async def cancel(reconciler: Reconciler, database: Database) -> list[str]:
        told = [await _cancel_one(reconciler, database, match) for match in matches]
        return [problem for problem in told if problem is not None]

    def tell(problems: list[str]) -> int:
        _say(args, f"cancelled {len(matches) - len(problems)}")
        return exits.complain(problems, exits.PROBLEMS) if problems else exits.OK

    return ask_listed(loaded, read_key(environment), cancel, tell)


async def _cancel_one(reconciler: Reconciler, database: Database, match: Match) -> str | None:
    """Why a job was not cancelled, None if it was, and that is written down."""
    refused = await reconciler.cancel(match.entry.job_id or "")
    if refused is not None:
        return f"job {match.entry.job_id} was not cancelled: {refused}"
    who = person()
    await opening.change(
        database,
        lambda c, now: store.record_cancelled(c, match, now, who),
        "to record a cancelled job",
    )
    return None


def _say(args: argparse.Namespace, told: str) -> None:
    """What was done; beside the document, where there is one."""
    print(told, file=sys.stderr if args.json else sys.stdout)


def _agreed(args: argparse.Namespace, what: str, matches: Sequence[Match]) -> bool:
    if not matches:
        exits.complain(["nothing is sure enough to change; see the table above"])
        return False
    if args.yes or output.ask(f"{what}?"):
        return True
    exits.complain(["nothing was changed; --yes does it unasked"])
    return False

"""``audit``: the API's whole list of jobs against the table."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_change, person
from worker.core.audit import Audit, Match, compare
from worker.core.job_list import Entry, Listing, Unlisted
from worker.core.redact import without_query
from worker.runner.reconciler import Reconciler
from worker.settings import Key
from worker.store import audit as store
from worker.store import doubts

SHOWN_STRANGERS = 5
"""Jobs of no video here that are named."""
COLUMNS = ("what", "video", "state", "job_id", "its own job", "job is", "sure")

_ADVICE = {
    "bought": "pending, but the API has a job of it; audit --adopt takes it over",
    "unsure": "where it is only perhaps its job, a person looks; valossa-ingest import FILE"
    " --update, with the columns media_id and job_id, takes it over",
    "twice": "a second job beside its own; audit --cancel-duplicates cancels what still waits for"
    " analysis, where its own is in the list and has not failed",
    "unknown": "a job that the video does not know; valossa-ingest reconcile settles those in"
    " doubt, resolve and show help with the others",
    "gone": "submitted, but its job is in the list no more; it may have been deleted",
    "uploads": "of the jobs of no video here are of uploaded files, perhaps of those that wait here"
    " for their upload: compare with the Valossa Portal before a worker buys them again",
}
"""Advice by the attribute of ``Audit`` that is not empty."""


def audit(call: Invocation) -> int:
    """Compare, and change only what is asked for and agreed to."""
    args, key = call.args, call.key()
    with open_to_change(call.settings) as session:
        asked = session.run(session.reconciler(key).ask())
        if asked is None:
            return exits.no_list("stopped before it was asked")
        shown, asked_at = asked
        if isinstance(shown, Unlisted):
            return exits.no_list(shown.reason)
        jobs = [entry.job_id for entry in shown.entries if entry.job_id is not None]
        rows, known, files = session.read(
            lambda c, _: (store.rows(c, shown), doubts.held(c, jobs), store.are_files_waiting(c))
        )
    result = compare(shown, rows, asked_at - call.settings.settle_after, known, files=files)
    _report(shown, result, as_json=args.json)
    if result.clean:
        return exits.OK
    sure, seconds = [match for match in result.bought if match.sure], result.duplicates
    if args.adopt and _agreed(call, f"adopt {len(sure)} jobs", sure):
        return _adopt(call, result, sure)
    if args.cancel_duplicates and _agreed(call, f"cancel {len(seconds)} jobs at the API", seconds):
        return _cancel(call, key, seconds)
    return exits.PROBLEMS


def _report(shown: Listing, result: Audit, *, as_json: bool) -> None:
    kinds = {"bought": result.bought, "twice": result.twice, "unknown": result.unknown}
    rows = [_match(kind, match) for kind, matches in kinds.items() for match in matches]
    lost = result.gone or ()
    rows += [("gone", row.video_id, row.state, None, row.job_id, None, "yes") for row in lost]
    jobs, strangers = len(shown.entries), [_stranger(entry) for entry in result.foreign]
    if as_json:
        told = {"paged": shown.paged, "of_no_video_here": len(strangers), "strangers": strangers}
        told |= {"possibly_bought_twice": result.same_address, "in_error": result.failed}
        told |= {"perhaps_of_files_here": result.uploads}
        output.document({"jobs": jobs, **told, "found": output.objects(COLUMNS, rows)})
        return
    if rows:
        output.table(COLUMNS, rows)
    matched = {id(match.entry) for matches in kinds.values() for match in matches}
    numbers = {"of videos here": jobs - len(strangers) - len(matched)}
    numbers |= {kind: len(matches) for kind, matches in kinds.items()}
    gone = "not known, " + shown.paged if shown.paged else len(lost)
    counts = ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number)
    output.paragraph(
        f"{jobs} jobs in the API's list: {counts or 'none of a video here'}; gone: {gone}"
    )
    if result.same_address:
        twice = "possibly bought twice: another video of the address has a job"
        output.paragraph(f"{result.same_address} {twice}")
    if result.failed:
        output.paragraph(
            f"{result.failed} of videos here ended in error, paid for nothing: valossa-ingest list"
            " --job-status error names those that drain, run or follow have met"
        )
    _print_strangers(strangers)
    for kind, advice in _ADVICE.items():
        if getattr(result, kind):
            output.paragraph(f"{kind}: {advice}")


def _print_strangers(strangers: Sequence[str]) -> None:
    if strangers:
        output.paragraph(
            f"{len(strangers)} of no video here: another queue with this key, or lists that are"
            " not imported (again)"
        )
    for stranger in strangers[:SHOWN_STRANGERS]:
        output.paragraph(stranger, "  ")
    if len(strangers) > SHOWN_STRANGERS:
        output.line(f"  and {len(strangers) - SHOWN_STRANGERS:,} more: --json names them all")


def _stranger(entry: Entry) -> str:
    urls = sorted(map(without_query, entry.urls))
    told = (entry.job_id, entry.status, *sorted(entry.identifiers), *urls)
    return output.text(" ".join(filter(None, told)))


def _match(kind: str, match: Match) -> Sequence[object]:
    row, entry = match.row, match.entry
    sure = "yes" if match.sure else "perhaps"
    return (kind, row.video_id, row.state, entry.job_id, row.job_id, entry.status, sure)


def _adopt(call: Invocation, found: Audit, matches: Sequence[Match]) -> int:
    who = person()
    with open_to_change(call.settings) as session:
        number = session.write(
            lambda c, now: sum(store.adopt(c, each, now, who) for each in matches), "to adopt jobs"
        )
    _print(call, f"adopted {number}")
    left = replace(found, bought=found.unsure)
    return exits.OK if number == len(matches) and left.clean else exits.PROBLEMS


def _cancel(call: Invocation, key: Key, matches: Sequence[Match]) -> int:
    with open_to_change(call.settings) as session:
        reconciler = session.reconciler(key)
        answers = [_cancel_one(session, reconciler, match) for match in matches]
    problems = list(filter(None, answers))
    _print(call, f"cancelled {len(matches) - len(problems)}")
    return exits.complain(problems, exits.PROBLEMS) if problems else exits.OK


def _cancel_one(session: Session, reconciler: Reconciler, match: Match) -> str | None:
    """Cancel a job and record it. Return why it was not cancelled, None if it was."""
    refused = session.run(reconciler.cancel(match.entry.job_id or ""))
    if refused is not None:
        return f"job {match.entry.job_id} was not cancelled: {refused}"
    session.write(
        lambda c, now: store.record_cancelled(c, match, now, person()), "to record a cancelled job"
    )
    return None


def _print(call: Invocation, done: str) -> None:
    output.line(done, file=sys.stderr if call.args.json else sys.stdout)


def _agreed(call: Invocation, what: str, matches: Sequence[Match]) -> bool:
    agreed = bool(matches) and (call.args.yes or output.ask(f"{what}?"))
    if not matches:
        exits.complain(["nothing is sure enough to change; see the table above"])
    elif not agreed:
        exits.complain(["nothing was changed; --yes does it unasked"])
    return agreed

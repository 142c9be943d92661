"""Decide the exit code of a run, and the advice to print. Knows no database and no terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.cli.exits import CONFIG, KEY, LATER, OK, PROBLEMS
from worker.core import host, relocation
from worker.core.host import HeldHost
from worker.core.model import Fact
from worker.core.reasons import Stop, StopReason
from worker.core.upload import remedy
from worker.core.verdict import BY_HAND, END_COOL_DOWN, FOR_LIST, ONLINE, REFUSED, RESUME
from worker.runner.model import RunReport

_KEY_ENDS = {StopReason.ACCOUNT, StopReason.EQUAL_REFUSALS}
_FACTS = {StopReason.ACCOUNT: Fact.ACCOUNT_REFUSED, StopReason.ADDRESS: Fact.WRONG_ADDRESS}
_CONFIG_ENDS = {StopReason.ADDRESS, StopReason.DATABASE, StopReason.MOVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Videos left: ``due`` now; ``waiting`` for a time or for another process, among them those due
    ``later`` and ``unsettled`` doubts that time may settle; ``for_people``: the other doubts.
    ``unlisted``: those of the due ones that are not sent before a list of jobs is read.
    ``hosts``: those that are held, with videos; ``uploads``: how many files are not uploaded, why,
    and one of their videos.
    """

    due: int = 0
    waiting: int = 0
    later: int = 0
    unsettled: int = 0
    for_people: int = 0
    unlisted: int = 0
    hosts: Sequence[HeldHost] = ()
    uploads: Sequence[tuple[int, str, int]] = ()


def of_run(report: RunReport, left: Left, signal_number: int | None) -> int:
    """Return the worst exit code that applies (README.md, Exit codes)."""
    # 1. A signal. 2. Configuration. 3. The key. 4. Problems. 5. Videos left for later. 6. Success.
    if signal_number is not None:
        return 128 + signal_number
    if report.stop.reason in _CONFIG_ENDS:
        return CONFIG
    if report.stop.reason in _KEY_ENDS:
        return KEY
    if report.counts.failed or left.for_people or left.hosts:
        return PROBLEMS
    limited = report.stop.reason is StopReason.LIMIT  # by a person, who knows of the others
    waits = left.unsettled if limited else left.due or left.waiting
    if report.stop.reason is StopReason.HELD or waits:
        return LATER
    return OK


def stopping(in_flight: int, grace: float) -> str:
    """Return a sentence on a stop that begins: for what it waits, and what a second one costs."""
    waits = f"{in_flight} in flight, whose answers are awaited for {grace:g} s at most; a second "
    costs = "Ctrl-C or SIGTERM ends them at once and leaves them in doubt, perhaps bought"
    return f"stopping: {waits}{costs}" if in_flight else "stopping: no request is in flight"


def advice(report: RunReport, left: Left, address: str, key: str, database: str) -> list[str]:
    """Return advice on the end of a run, one sentence a line; an empty list if none is needed.
    ``address`` and ``key`` name the used ones and their sources; ``database`` is the flag that a
    proposed command needs.
    """
    lines = _on_stop(report.stop, address, key, database)
    if left.due and report.stop.reason is StopReason.TIME:
        lines.append(f"{report.stop.reason}, and {left.due} are due still: run it again to go on")
    number = min(report.counts.postponed, left.later)
    if number and report.stop.reason is StopReason.EMPTY:
        lines.append(f"{number} postponed: valossa-ingest list --state pending says why")
    if left.unlisted and report.stop.reason is StopReason.EMPTY:
        lines.append(f"{left.unlisted} {FOR_LIST} after a 500: run it again later; {ONLINE}")
    if report.stop.reason is StopReason.EMPTY:
        for files, why, video in left.uploads:
            such = f"{files} not uploaded, such as video {video}"
            lines.append(f"{such}: {why}: {remedy(why, video)}")
    if left.unsettled and report.stop.reason is not StopReason.STOPPED:
        lines.append(f"{left.unsettled} in doubt that time may settle: run it again later")
    if left.for_people:
        lines.append(f"{left.for_people} {BY_HAND}")
    if left.hosts:
        lines += [host.told(left.hosts), left.hosts[0].remedy]
    if report.counts.failed or left.for_people:
        lines.append("see valossa-ingest why, then show ID")
    return lines


def _on_stop(stop: Stop, address: str, key: str, database: str) -> list[str]:
    match stop.reason:
        case StopReason.ACCOUNT | StopReason.ADDRESS:
            refusal = REFUSED[_FACTS[stop.reason]]
            words = f"{refusal.words.format(address=address)} ({stop.message})"
            return [f"{words}: no video was charged", refusal.remedy.format(key=key)]
        case StopReason.EQUAL_REFUSALS:
            ids = " ".join(f"id={each}" for each in stop.videos)
            return [
                f"stopped: the same refusal again and again ({stop.message})",
                f"when its cause is gone: valossa-ingest retry --yes {ids}{database}",
            ]
        case StopReason.DATABASE | StopReason.CAP:
            return [stop.message]
        case StopReason.MOVED:
            return [f"this queue {relocation.sentence(stop.message)}"]
        case StopReason.UNREACHABLE:
            remedy = "look with valossa-ingest check --online, or run it again later"
            return [f"no clear answer from {address} ({stop.message}): {remedy}"]
        case StopReason.PAUSED:
            return [f"paused ({stop.message}): {RESUME}; then run it again"]
        case StopReason.COOL_DOWN:
            again = f"run it again after that, or {END_COOL_DOWN}"
            return [f"ended early: {stop.reason}, {stop.message}: {again}"]
        case _:
            return []

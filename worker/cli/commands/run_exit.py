"""Decide the exit code of a run, and the advice to print. Knows no database and no terminal."""

from dataclasses import dataclass

from worker.cli.exits import CONFIG, KEY, LATER, OK, PROBLEMS
from worker.core import relocation
from worker.core.reasons import StopReason
from worker.runner.model import RunReport

_KEY_ENDS = {StopReason.ACCOUNT, StopReason.EQUAL_REFUSALS}
_CONFIG_ENDS = {StopReason.ADDRESS, StopReason.DATABASE, StopReason.MOVED}
_NO_TROUBLE = {StopReason.LIMIT, StopReason.TIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Videos that a run left: ``due`` now; ``waiting`` for a time or for another process; and
    ``for_people``: doubts of this run that only a person can settle.
    """

    due: int = 0
    waiting: int = 0
    for_people: int = 0


def of_run(report: RunReport, left: Left, signal_number: int | None) -> int:
    """Return the worst exit code that applies (README.md, Exit codes)."""
    # 1. A signal. 2. Configuration. 3. The key. 4. Problems. 5. Videos left for later. 6. Success.
    if signal_number is not None:
        return 128 + signal_number
    if report.stop.reason in _CONFIG_ENDS:
        return CONFIG
    if report.stop.reason in _KEY_ENDS:
        return KEY
    if report.counts.failed or left.for_people:
        return PROBLEMS
    if report.stop.reason is StopReason.HELD or (
        (left.due or left.waiting) and report.stop.reason not in _NO_TROUBLE
    ):
        return LATER
    return OK


def advice(report: RunReport, address: str, key: str, database: str) -> list[str]:
    """Return advice on the end of a run, one sentence a line; an empty list if none is needed.
    ``address`` and ``key`` name the used ones and their sources; ``database`` is the flag that a
    proposed command needs.
    """
    stop = report.stop
    match stop.reason:
        case StopReason.ACCOUNT:
            return [
                f"the API refuses the key or the account ({stop.message}): no video was charged",
                f"put the right key in {key}, or settle it with Valossa, and run it again",
            ]
        case StopReason.ADDRESS:
            return [
                f"what answers at {address} is not the API ({stop.message}): no video was charged",
                "correct api_url, look with valossa-ingest check --online, and run it again",
            ]
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
        case StopReason.EMPTY if report.counts.postponed:
            number = report.counts.postponed
            return [f"{number} postponed: valossa-ingest list --state pending says why"]
        case StopReason.PAUSED:
            return [f"paused ({stop.message}): valossa-ingest resume, then run it again"]
        case StopReason.COOL_DOWN:
            again = "run it again after that, or valossa-ingest resume --cool-down ends it"
            return [f"ended early: {stop.reason}, {stop.message}: {again}"]
        case _:
            return []

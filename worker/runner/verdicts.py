"""Do the work of one transaction of reconciliation: read the doubts, judge each, write.

It joins the store's verbs and the core's verdicts on one connection. Knows no question to the API.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from sqlalchemy import Connection

from worker.core.evidence import (
    PERSON,
    Absent,
    Ambiguous,
    Doubt,
    Evidence,
    Found,
    NoEvidence,
    Resolvable,
    Verdict,
    judge,
    sighted,
    unlisted,
)
from worker.core.job_list import Listing, Unlisted
from worker.core.redact import TEXT_LIMIT
from worker.settings import Settings
from worker.store import doubts, shared_state

SOONEST_SECONDS = 60.0
"""Between two questions for the list, of all processes together."""

RAREST_SECONDS = 3600.0
"""Between two questions about doubts that nothing has settled for long."""

USED_UP = (
    "the API has no job of it, but its attempts are used up; "
    "valossa-ingest retry --may-buy-twice id={} sends it again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDoubt:
    """A video with the verdict of a list. ``is_recheck``: it is pending, after a documented 500.
    ``used_up``: its attempts are, so it is not sent again by itself.
    """

    doubt: Doubt
    verdict: Verdict
    is_recheck: bool = False
    used_up: bool = False

    @property
    def resolvable(self) -> Resolvable | None:
        """Return what may still settle the doubt; None if it is settled."""
        match self.verdict:
            case Absent() if self.used_up:
                return Resolvable.NONE
            case Found() | Absent():
                return None
            case Ambiguous():
                return Resolvable.NONE
            case NoEvidence(_, resolvable):
                return resolvable


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """The judge of doubts of one process, under its settings."""

    worker: str
    settings: Settings
    dice: Callable[[], float]

    def read(
        self, connection: Connection, shown: Listing | Unlisted, asked_at: datetime
    ) -> list[JudgedDoubt]:
        """Return the verdicts on all that was in doubt when the list was asked for (UTC)."""
        found, settle_after = doubts.doubts(connection, asked_at), self.settings.settle_after
        if isinstance(shown, Unlisted):
            return [self._judged(d, unlisted(d, shown, asked_at, settle_after)) for d in found]
        ids = [entry.job_id for entry in shown.entries if entry.job_id is not None]
        seen = Evidence.of(shown, asked_at, doubts.held(connection, ids), settle_after)
        judged = [self._judged(doubt, judge(doubt, seen)) for doubt in found]
        looked_up = [(d, sighted(d, seen)) for d in doubts.rechecks(connection, asked_at)]
        judged += [
            JudgedDoubt(doubt=d, verdict=v, is_recheck=True) for d, v in looked_up if v is not None
        ]
        return judged

    def _judged(self, doubt: Doubt, verdict: Verdict) -> JudgedDoubt:
        used_up = doubt.attempts >= self.settings.policy.max_attempts
        return JudgedDoubt(doubt=doubt, verdict=verdict, used_up=used_up)

    def write(
        self,
        connection: Connection,
        shown: Listing | Unlisted,
        asked_at: datetime,
        now: datetime,
        among: Collection[int] | None = None,
    ) -> list[JudgedDoubt]:
        """Write the verdicts and return those that were written: none on a video that has moved on,
        and none in a queue that has moved. ``among``: on these videos alone.
        """
        shared = shared_state.read(connection)
        if shared.moved_to is not None:
            return []
        judged, read_at = self.read(connection, shown, asked_at), asked_at
        if isinstance(shown, Unlisted) and not shown.lasting:
            # It is asked for again, and delays no video longer than an absence takes to count.
            known, counted = shared.checked_until(asked_at), asked_at - self.settings.settle_after
            read_at = counted if known is None else max(known, counted)
        shared_state.list_read(connection, read_at)
        if among is not None:
            judged = [each for each in judged if each.doubt.video_id in among]
        return [each for each in judged if self._settled(connection, each, now)]

    def _settled(self, connection: Connection, judged: JudgedDoubt, now: datetime) -> bool:
        doubt = judged.doubt
        match judged.verdict:
            case Found(job_id):
                return doubts.find(connection, doubt, job_id, now, self.worker)
            case Absent() if judged.used_up:
                why = USED_UP.format(doubt.video_id) + PERSON
                return doubts.keep(connection, doubt, why, now, self.worker)
            case Absent():
                due_at = now + self.settings.policy.wait(doubt.attempts, self.dice())
                return doubts.free(connection, doubt, due_at, now, self.worker)
            case Ambiguous(reason) if judged.is_recheck:
                return doubts.park(connection, doubt, reason + PERSON, now, self.worker)
            case Ambiguous(reason) | NoEvidence(reason):
                by_hand = PERSON if judged.resolvable is Resolvable.NONE else ""
                room = TEXT_LIMIT // 2  # for the row's first error
                doubts.explain(connection, doubt, reason[:room] + by_hand)
                return True
            case _:
                assert_never(judged.verdict)


def next_list_at(connection: Connection, now: datetime) -> datetime | None:
    """Return when the list is worth asking for (UTC); None while there is nothing to ask about. The
    older the youngest doubt, the rarer.
    """
    doubt = doubts.youngest_doubt(connection)
    moments = [next_recheck_at(connection, now)]
    if doubt is not None:
        quarter = (now - doubt).total_seconds() / 4
        seconds = min(RAREST_SECONDS, max(SOONEST_SECONDS, quarter))
        moments.append(_after(shared_state.read(connection), now, seconds))
    return min(filter(None, moments), default=None)


def next_recheck_at(connection: Connection, now: datetime) -> datetime | None:
    """Return when to ask for the list so that a video can be sent (UTC); None if none waits."""
    known = shared_state.read(connection)
    due_at = doubts.next_recheck(connection, known.checked_until(now))
    return due_at and max(due_at, _after(known, now, SOONEST_SECONDS))


def _after(known: shared_state.SharedState, now: datetime, seconds: float) -> datetime:
    """Return so long after the last question; one from the future is a clock that stepped back."""
    asked_at = known.list_asked_at
    if asked_at is None or asked_at > now + timedelta(seconds=SOONEST_SECONDS):
        return now
    return asked_at + timedelta(seconds=seconds)

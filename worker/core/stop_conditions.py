"""Decide whether a run is over, and why: by its options, by a trouble, or for want of work.

Pure: a run's state, its options and its last claim result go in, a stop or None comes out. Times
are seconds of one monotonic clock.
"""

import math
from dataclasses import dataclass
from typing import assert_never

from worker.core.reasons import ClaimResult, Stop, StopReason, WaitReason
from worker.core.run_state import RunState

PATIENCE_SECONDS = 60.0
"""A drain waits so long for a lost database; one without ``--wait`` also for a clear answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one run.

    Attributes:
        drain: End when nothing is due.
        wait: Do not end before backoffs, cool-downs and resolvable doubts are over.
        limit: Begin at most so many requests.
        max_seconds: Claim nothing more after so long.
        rate_source: The source of the rate, for people.
    """

    drain: bool
    wait: bool = False
    limit: int | None = None
    max_seconds: float | None = None
    rate_source: str = "default"

    @property
    def brief(self) -> bool:
        """Return True if the run waits for nothing."""
        return self.drain and not self.wait


def asks_last(stop: Stop, options: RunOptions) -> bool:
    """Return True if a run asks about jobs before it ends: a brief one whose API answers."""
    ends = {StopReason.EMPTY, StopReason.LIMIT, StopReason.TIME, StopReason.PAUSED, StopReason.CAP}
    return options.brief and stop.reason in ends


def deadline(run: RunState, options: RunOptions) -> float:
    """Return the second at which the time of the run is over; infinity without a limit."""
    return run.began_at + (math.inf if options.max_seconds is None else options.max_seconds)


def free_slots(run: RunState, options: RunOptions, slots: int) -> int:
    """Return how many requests more may be claimed."""
    free = run.breaker.free_slots(run.in_flight, slots)
    return free if options.limit is None else min(free, options.limit - run.spent)


def stop_before_claim(run: RunState, options: RunOptions, now: float) -> Stop | None:
    """Return why nothing more may be claimed, whatever is due; None where it may."""
    # A run is over in four cases; the first that holds is reported.
    # 1. All requests of the limit have ended; one that was not sent has made room again. A drain
    # names the trouble that it met, though no other request could confirm it.
    # 2. The time is over. 3. A drain has met a confirmed trouble.
    # 4. A drain that does not wait gets no clear answer.
    stop = run.breaker.stop
    if options.limit is not None and run.spent >= options.limit and not run.in_flight:
        met = options.drain and (stop or run.breaker.suspected)
        return met or Stop(reason=StopReason.LIMIT)
    if now >= deadline(run, options):
        return Stop(reason=StopReason.TIME)
    if options.drain and stop is not None:
        return stop
    if _gives_up_on_api(run, options, max(now, run.breaker.cool_until)):
        silence = Stop(reason=StopReason.UNREACHABLE, message=run.last_unclear)
        return run.breaker.suspected or silence
    return None


def _gives_up_on_api(run: RunState, options: RunOptions, until: float) -> bool:
    """Return True if a drain may not wait for a trouble that lasts until then."""
    troubled = run.breaker.blanks > 0 and not run.breaker.trusted
    return options.brief and troubled and until > run.last_clear_at + PATIENCE_SECONDS


def stop_without_database(
    run: RunState, options: RunOptions, problem: str, now: float, *, unreachable: bool
) -> Stop | None:
    """Return why a run is over whose claim failed: a daemon waits for its database, a drain for a
    while for one that is ``unreachable``.
    """
    since = now if run.database_lost_at is None else run.database_lost_at
    passing = unreachable and now < since + PATIENCE_SECONDS
    if not options.drain or passing:
        return None
    return Stop(reason=StopReason.DATABASE, message=problem)


def stalls(result: ClaimResult, seconds: float | None) -> WaitReason | None:
    """Return the reason of a wait whose end no one knows: rows that another program holds, or a
    list that is overdue. ``seconds``: until the result's moment, None without one.
    """
    overdue = result.reason is WaitReason.LIST and seconds is not None and seconds <= 0
    return result.reason if overdue or result.reason is WaitReason.HELD else None


def stop_after_claim(
    result: ClaimResult,
    run: RunState,
    options: RunOptions,
    now: float,
    *,
    seconds: float | None,
    longest: float,
) -> Stop | None:
    """Return why a run is over whose last claim brought no start; None while it goes on.
    ``seconds``: until the result's moment, None without one. ``longest``: the longest wait for what
    passes by itself, in seconds (``retry_after_max_seconds``).
    """
    # Two things come first. 1. A queue that has moved ends a daemon as well.
    # 2. Everything else ends only a drain, and only one that awaits no answer.
    if result.reason is WaitReason.MOVED:
        return Stop(reason=StopReason.MOVED, message=result.detail)
    if not options.drain or run.busy:
        return None
    match result.reason:
        case WaitReason.PACE | WaitReason.UPLOADS:
            return _stop_by_uploads(result, run, options, now)
        case WaitReason.PAUSE:
            return Stop(reason=StopReason.PAUSED, message=result.detail)
        case WaitReason.COOL_DOWN | WaitReason.CAP | WaitReason.JOBS:
            return _stop_by_clock(result, run, options, now + (seconds or 0.0), now + longest)
        case WaitReason.HELD | WaitReason.LIST:
            goes_on = options.wait and run.awaits_own_doubts
            if stalls(result, seconds):
                since = now if run.stalled is None else run.stalled[1]
                goes_on = now < since + (longest if options.wait else PATIENCE_SECONDS)
        case WaitReason.LATER | WaitReason.OTHERS | WaitReason.DOUBTS:
            goes_on = options.wait
        case WaitReason.HOSTS | WaitReason.NOTHING:
            goes_on = False
        case _:
            assert_never(result.reason)
    # For want of work; a refusal that no other video could confirm counts.
    return None if goes_on else run.breaker.suspected or Stop(reason=StopReason.EMPTY)


def _stop_by_uploads(
    result: ClaimResult, run: RunState, options: RunOptions, now: float
) -> Stop | None:
    """Return why a run is over that has only uploads left, all of which a trouble holds."""
    trouble, since = run.upload_trouble or (None, now)
    lasting = {StopReason.DATABASE, StopReason.ACCOUNT, StopReason.ADDRESS}
    is_lost = trouble is not None and trouble.reason in lasting
    goes_on = (options.wait or run.uploading) and not is_lost
    gives_up = result.reason is WaitReason.UPLOADS and not goes_on
    return trouble if gives_up and now >= since + PATIENCE_SECONDS else None


def _stop_by_clock(
    result: ClaimResult, run: RunState, options: RunOptions, over_at: float, patience: float
) -> Stop | None:
    """Return why a run is over that a cool-down or a full cap holds until ``over_at``; None if it
    waits for that. A claim that makes no job frees room in a cap before its time, as a doubt does
    that proves empty, and jobs at their ends, which only ``--wait`` waits for.
    """
    if not options.wait:
        patience = min(patience, run.last_clear_at + PATIENCE_SECONDS)
    if result.reason is WaitReason.COOL_DOWN:
        stop = Stop(reason=StopReason.COOL_DOWN, message=result.detail)
        return stop if over_at > patience else None
    waits = result.submitting or (result.until is not None and over_at <= patience)
    if options.wait:
        waits = waits or result.reason is WaitReason.JOBS or run.awaits_own_doubts
    return None if waits else Stop(reason=StopReason.CAP, message=result.detail)


def with_late_failures(stop: Stop, run: RunState) -> Stop:
    """Return the stop with the videos that failed by it while the last answers came in."""
    last = run.breaker.stop
    return last if last is not None and last.reason is stop.reason else stop

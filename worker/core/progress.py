"""Say how a run gets on, as the lines of a block and as one sentence. Moments are UTC."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from worker.core.model import Accepted, Claim, Outcome, value
from worker.core.reasons import WaitReason
from worker.core.redact import without_query
from worker.core.run_state import Counts, RunState

NARROW = 60
"""Columns below which a block is one line."""

LONGEST_BAR = 50
NEEDS = "needs you"

MINUTE_SECONDS, CHANGE_SECONDS = 60.0, 10.0
"""Between lines; and between those on changes of the brake, which may come each second."""

_DAY, _TIME = "%Y-%m-%d", "%H:%M:%S UTC"


@value
class Progress:
    """The facts of a run at one moment.

    Attributes:
        seconds: Age of the run.
        rate, allowed, used: Starts per period: by the setting, by the pace in force, and those of
            late (None while the run is too young to tell).
        full_pace_at: When the brake is over if no 429 comes; None without one.
        left: Videos that are due or in flight here; None until they are counted.
        waits_for, waits_until, why: The reason that holds all, its end, and its cause.
        money, needs: Sentences for a person.
        last, last_at: The last attempt as ``story`` tells it, and when it ended.
    """

    at: datetime
    seconds: float
    counts: Counts
    in_flight: int
    rate: float
    period_seconds: float
    allowed: float
    used: float | None = None
    full_pace_at: datetime | None = None
    left: int | None = None
    waits_for: str = ""
    waits_until: datetime | None = None
    why: str = ""
    money: Sequence[str] = ()
    last: Mapping[str, object] | None = None
    last_at: datetime | None = None
    needs: Sequence[str] = ()

    @property
    def eta(self) -> tuple[float, float] | None:
        """Return the least and the most seconds that are left; None where that is unknown."""
        if not self.left or (self.waits_for and self.waits_until is None):
            return None
        held = max(timedelta(0), (self.waits_until or self.at) - self.at).total_seconds()
        slowest = max(min(self.used or self.allowed, self.allowed), self.rate / 1_000)
        work = self.left * self.period_seconds
        return held + work / max(self.rate, self.used or 0.0), held + work / slowest


def waits(run: RunState, at: datetime, now: float) -> tuple[str, datetime | None, str]:
    """Return what holds a run, until when (None if no time ends it), and why; an empty text where
    nothing does but the pace. ``now``: seconds of the run's clock.
    """
    # 1. The database. 2. The run's own cool-down. 3. Nothing, or what is over. 4. What the last
    # claim has met, unless answers are awaited that may change it.
    met, cool_until = run.claimed, run.breaker.cool_until
    if run.database_lost_at is not None:
        return "the database", None, ""
    if cool_until > now:
        until = at + timedelta(seconds=cool_until - now)
        why = f"a cool-down until {until:{_DAY} {_TIME}} ({run.last_unclear})"
        return WaitReason.COOL_DOWN, until, why
    if met is None or met.reason is WaitReason.PACE or (met.until is not None and met.until <= at):
        return "the API's list of jobs" if run.reads_list else "", None, ""
    if met.reason in {WaitReason.COOL_DOWN, WaitReason.PAUSE, WaitReason.CAP}:
        return met.reason, met.until, met.detail
    doubts = f"to settle {len(run.doubts)} in doubt" if run.doubts else ""
    return ("", None, "") if run.in_flight else (met.reason, met.until, doubts)


def story(claim: Claim, outcome: Outcome) -> dict[str, object]:
    """Return one attempt for a person: the video, its address without a query, and its job."""
    return {
        "video": claim.video_id,
        "media_id": claim.video.media_id,
        "url": without_query(claim.video.url),
        "answer": f"{outcome.fact}: {outcome.message}" if outcome.message else str(outcome.fact),
        "job_id": outcome.job_id if isinstance(outcome, Accepted) else None,
    }


def block(shown: Progress, width: int) -> list[str]:
    """Return at most six lines for a terminal; one that is narrow gets a single line."""
    head, counts = _head(shown), shown.counts
    if width < NARROW:
        needs = NEEDS if shown.needs else ""
        return ["  ".join(filter(None, (head, needs, _hold(shown))))]
    room = max(10, min(LONGEST_BAR, width - len(head) - 4))
    done = room * counts.ended // max(1, counts.ended + (shown.left or 0))
    return [f"[{'#' * done}{'.' * (room - done)}]  {head}", *_rest(shown)]


def sentence(shown: Progress) -> str:
    """Return the same in one sentence."""
    return "; ".join((_head(shown), *_rest(shown)))


def is_due(shown: Progress, said: Progress | None) -> bool:
    """Return True if a line is due after the one that ``said`` the last: each minute, or soon after
    a change of what slows the run.
    """
    if said is None:
        return True
    slowed, was = ((each.full_pace_at is None, each.waits_for) for each in (shown, said))
    return shown.seconds - said.seconds >= (MINUTE_SECONDS if slowed == was else CHANGE_SECONDS)


def _head(shown: Progress) -> str:
    ended = shown.counts.ended
    total = "?" if shown.left is None else ended + shown.left
    eta = "nothing due" if shown.left == 0 else "ETA unknown"
    if shown.eta is not None:
        (least, unit), (most, last) = map(_rounded, shown.eta)
        eta = f"ETA {least}{'' if unit == last else f' {unit}'} to {most} {last}"
        eta = f"ETA {most} {last}" if (least, unit) == (most, last) else eta
    return f"{ended}/{total}  {timedelta(seconds=int(shown.seconds))}  {eta}"


def _rest(shown: Progress) -> Iterator[str]:
    counts = shown.counts
    yield (
        f"{shown.in_flight} in flight, {counts.submitted} submitted, {counts.failed} failed, "
        f"{counts.in_doubt} in doubt, {counts.postponed} postponed"
    )
    used = "" if shown.used is None else f"{round(shown.used, 2):g} of "
    pace = f"pace {used}{round(shown.allowed, 2):g} per {shown.period_seconds:g} s"
    if shown.full_pace_at is not None:
        pace += f" ({shown.rate:g} again at {_time(shown.full_pace_at, shown)})"
    yield " | ".join(filter(None, (_hold(shown), pace)))
    yield " | ".join((f"bought {counts.submitted}, perhaps {counts.in_doubt} more", *shown.money))
    if (last := shown.last) and shown.last_at:
        named = f"video {last['video']} ({last['media_id'] or last['url']})"
        job = f", job {last['job_id']}" if last["job_id"] else ""
        yield f"last answer {_time(shown.last_at, shown)}: {last['answer']}, {named}{job}"
    if shown.needs:
        more = f" (and {len(shown.needs) - 1} more: see status)" if shown.needs[1:] else ""
        yield f"{NEEDS}: {shown.needs[0]}{more}"


def _hold(shown: Progress) -> str:
    if shown.waits_for in {WaitReason.COOL_DOWN, WaitReason.CAP}:
        return shown.why.replace(f"{shown.at:{_DAY}} ", "")
    until = f" until {_time(shown.waits_until, shown)}" if shown.waits_until else ""
    waits = "paused" if shown.waits_for == WaitReason.PAUSE else f"waits for {shown.waits_for}"
    return f"{waits}{until}" + (f" ({shown.why})" if shown.why else "") if shown.waits_for else ""


def _time(moment: datetime, shown: Progress) -> str:
    return f"{moment:{_DAY} {_TIME}}".removeprefix(f"{shown.at:{_DAY}} ")


def _rounded(seconds: float) -> tuple[int, str]:
    sizes = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    size, unit = next((each for each in sizes if seconds >= 2 * each[0]), sizes[-1])
    return round(seconds / size), unit

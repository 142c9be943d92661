"""Say how a run gets on, as the lines of a block and as one sentence. Moments are UTC."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from worker.core.model import Accepted, Claim, Outcome, value
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.redact import without_query
from worker.core.run_state import Counts
from worker.core.verdict import WITH_UPLOADS, Verdict, VerdictState

NARROW = 60
"""Columns below which a block is one line."""

LONGEST_BAR = 50

MINUTE_SECONDS, CHANGE_SECONDS = 60.0, 10.0
"""Between lines; and between those on changes of the brake, which may come each second."""


@value
class Progress:
    """The facts of a run at one moment.

    Attributes:
        seconds: Age of the run.
        left: Videos that are due, in flight here, or to be uploaded.
        rate, allowed, used: Starts per period: by the setting, by the pace in force, and those of
            the last minute (None while the run is too young to tell).
        full_pace_at: When the brake is over if no 429 comes; None without one.
        money: What was bought today and what fills the caps, in words.
        last: The last request as ``story`` tells it; empty before the first.
        held, verdict: Those of the queue.
        uploads: How far those are, for people; empty where none is left.
        upload_seconds: Until their bytes are sent; None where that is not known.
    """

    at: datetime
    seconds: float
    counts: Counts
    in_flight: int
    left: int
    rate: float
    allowed: float
    used: float | None
    period_seconds: float
    full_pace_at: datetime | None
    money: Sequence[str]
    last: Mapping[str, object]
    held: ClaimResult | None
    verdict: Verdict
    uploads: str = ""
    upload_seconds: float | None = 0.0

    @property
    def brake(self) -> tuple[bool, WaitReason | None]:
        """Return what slows the run: a lowered pace, and the reason that holds all."""
        reason = self.held.reason if self.held else None
        passing = {WaitReason.PACE, WaitReason.OTHERS, *(WITH_UPLOADS if self.uploads else ())}
        return self.full_pace_at is not None, None if reason in passing else reason

    @property
    def eta(self) -> tuple[float, float] | None:
        """Return the least and the most seconds that are left; None where that is unknown."""
        until = self.held.until if self.held and self.brake[1] else self.at
        least, is_stalled = self.upload_seconds, self.verdict.state is VerdictState.STALLED
        if not self.left or until is None or least is None or is_stalled:
            return None
        held, work = max(0.0, (until - self.at).total_seconds()), self.left * self.period_seconds
        slowest = max(min(self.used or self.allowed, self.allowed), self.rate / 1_000)
        quickest = max(self.rate, self.used or 0.0)
        return max(least, held + work / quickest), max(least, held + work / slowest)


def story(claim: Claim, outcome: Outcome) -> dict[str, object]:
    """Return one attempt for a person: the video, its address without a query, and its job."""
    return {
        "answer": f"{outcome.fact}: {outcome.message}" if outcome.message else str(outcome.fact),
        "video": claim.video_id,
        "media_id": claim.video.media_id,
        "job_id": outcome.job_id if isinstance(outcome, Accepted) else None,
        "url": without_query(claim.video.url),
    }


def block(shown: Progress, width: int) -> list[str]:
    """Return at most seven lines for a terminal; one that is narrow gets a single line."""
    (head, *rest), ended = sentences(shown), shown.counts.ended
    if width < NARROW:
        return [f"{head}  {shown.verdict.sentence}"]
    room = max(10, min(LONGEST_BAR, width - len(head) - 4))
    done = room * ended // max(1, ended + shown.left)
    return [f"[{'#' * done}{'.' * (room - done)}]  {head}", *rest]


def sentences(shown: Progress) -> list[str]:
    """Return the numbers, the states, the pace, the money, the last answer and the verdict."""
    counts, ended, clock = shown.counts, shown.counts.ended, timedelta(seconds=int(shown.seconds))
    eta = "unknown" if shown.eta is None else " to ".join(dict.fromkeys(map(_span, shown.eta)))
    states = f"{shown.in_flight} in flight, {counts.submitted} submitted, {counts.failed} failed, "
    states += f"{counts.in_doubt} in doubt, {counts.postponed} postponed"
    used = "" if shown.used is None else f" ({round(shown.used, 2):g} in the last minute)"
    pace = f"pace {round(shown.allowed, 2):g} per {shown.period_seconds:g} s{used}"
    if shown.full_pace_at is not None:
        pace += f", {shown.rate:g} again at {shown.full_pace_at:%H:%M:%S} UTC"
    last = ((name.replace("_", " "), fact) for name, fact in shown.last.items() if fact)
    way_out = next(iter(shown.verdict.needs), shown.verdict.remedy)
    return [
        f"{ended}/{ended + shown.left}  {clock}  "
        + (f"ETA {eta}" if shown.left else "nothing due"),
        states,
        pace,
        ", ".join((f"bought {counts.submitted}, perhaps {counts.in_doubt} more", *shown.money)),
        *([f"uploads: {shown.uploads}"] if shown.uploads else []),
        *([f"last {', '.join(map('{0[0]} {0[1]}'.format, last))}"] if shown.last else []),
        shown.verdict.sentence + (f" | {way_out}" if way_out else ""),
    ]


def is_due(shown: Progress | None, said: Progress | None) -> bool:
    """Return True if a line is due after the last, ``said``: each minute, or at a new brake."""
    if shown is None or said is None:
        return shown is not None
    wait = MINUTE_SECONDS if shown.brake == said.brake else CHANGE_SECONDS
    return shown.seconds - said.seconds >= wait


def _span(seconds: float) -> str:
    sizes = ((86_400, "d"), (3_600, "h"), (60, "min"))
    size, unit = next((each for each in sizes if seconds >= 2 * each[0]), (1, "s"))
    return f"{round(seconds / size)} {unit}"

"""How claims end: where each stands in the table, and the writing of what was decided (law 6).

Knows no HTTP and no clock, and decides nothing: it writes only what a transition says, and only
under the claim. Called inside a write transaction, so what is read holds until it has written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    text,
    update,
)

from worker.core.decide import Circumstances
from worker.core.model import Accepted, Claim, Fact, InDoubt, Outcome, State, Transition
from worker.core.redact import clean
from worker.db import batch
from worker.db.schema import history, videos
from worker.db.statements import Prepared
from worker.store.queue import UNCLAIMED

CLOSING_FACTS = (Fact.LATE_ANSWER, Fact.FOUND, Fact.ABSENT)
"""Facts that settle the doubt about the attempt that they name. A person who finds the job settles
the doubts about all attempts up to then; one who gives up settles none."""

IS_DOUBT = history.c.fact == text("'in_doubt'")
"""Said as a literal, so that the partial index on doubts serves it."""

_closing = history.alias()
_closed = exists().where(
    _closing.c.video_id == history.c.video_id,
    _closing.c.id > history.c.id,
    or_(
        and_(_closing.c.attempt == history.c.attempt, _closing.c.fact.in_(CLOSING_FACTS)),
        and_(
            _closing.c.attempt >= history.c.attempt,
            _closing.c.fact == Fact.RESOLVE,
            _closing.c.job_id.is_not(None),
        ),
    ),
)
IS_OPEN_DOUBT = and_(IS_DOUBT, ~_closed)
"""A fact of the history that nothing has settled since (law 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What an attempt ended in. ``started_at`` (UTC) is None where nothing was sent."""

    claim: Claim
    outcome: Outcome
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the table says of a claim at the moment of settling."""

    state: State | None
    holds: bool
    around: Circumstances

    @property
    def own(self) -> bool:
        """The claim is in force."""
        return self.holds and self.state is State.SUBMITTING

    @property
    def late(self) -> bool:
        """The lease ran out, and nobody has judged the doubt since: the answer is still its own."""
        return self.holds and self.state is State.IN_DOUBT


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """An ending with the transition that was decided for it."""

    ending: Ending
    standing: Standing
    transition: Transition


def standings(connection: Connection, endings: Sequence[Ending]) -> list[Standing]:
    """Where each claim stands now, with the circumstances that its transition depends on."""
    ((found,),) = _STANDINGS(connection, endings=batch.encoded(map(_asked, endings)))
    known = {place: fields for place, *fields in batch.decoded(found)}
    doubts = open_doubts(connection, [e.claim.video_id for e in endings if e.claim.attempt > 1])
    holders = _holders(endings, known)
    return [
        _standing(ending, known[place], doubts.get(ending.claim.video_id, set()), holders)
        for place, ending in enumerate(endings)
    ]


def _asked(ending: Ending) -> tuple[int, str | None]:
    outcome = ending.outcome
    return ending.claim.video_id, outcome.job_id if isinstance(outcome, Accepted) else None


_endings = batch.rows("endings", video_id=videos.c.id.type, job_id=videos.c.job_id.type)
_holder = videos.alias("holder")
_STANDINGS = Prepared(
    select(
        batch.gathered(
            (
                _endings.c.place,
                videos.c.state,
                videos.c.claim_token,
                videos.c.job_id,
                _holder.c.id,
            )
        )
    ).select_from(
        _endings.outerjoin(videos, videos.c.id == _endings.c.video_id).outerjoin(
            _holder, _holder.c.job_id == _endings.c.job_id
        )
    )
)


def _standing(
    ending: Ending, fields: Sequence[Any], doubts: set[int], holders: dict[str, int]
) -> Standing:
    state, token, job_id, _ = fields
    around = Circumstances(
        doubt=bool(doubts - {ending.claim.attempt}),
        holder=_other_holder(holders, ending),
        job_id=job_id,
    )
    return Standing(
        state=None if state is None else State(state),
        holds=token == ending.claim.token,
        around=around,
    )


def open_doubts(connection: Connection, video_ids: Sequence[int]) -> dict[int, set[int]]:
    """The attempts of these videos that are in doubt still: no later fact settles them (law 5)."""
    if not video_ids:
        return {}
    rows = connection.execute(
        select(history.c.video_id, history.c.attempt).where(
            history.c.video_id.in_(video_ids), IS_OPEN_DOUBT
        )
    )
    doubts: dict[int, set[int]] = {}
    for video_id, attempt in rows:
        doubts.setdefault(video_id, set()).add(attempt)
    return doubts


def _holders(endings: Sequence[Ending], known: Mapping[int, Sequence[Any]]) -> dict[str, int]:
    """Which video holds each of the job ids that just came: those in the table, then the first to
    bring it.
    """
    holders: dict[str, int] = {}
    for place, ending in enumerate(endings):
        if isinstance(ending.outcome, Accepted):
            holder = known[place][-1]
            first = ending.claim.video_id if holder is None else holder
            holders.setdefault(ending.outcome.job_id, first)
    return holders


def _other_holder(holders: dict[str, int], ending: Ending) -> int | None:
    if not isinstance(ending.outcome, Accepted):
        return None
    holder = holders[ending.outcome.job_id]
    return None if holder == ending.claim.video_id else holder


def settle(
    connection: Connection, settlements: Sequence[Settlement], now: datetime, worker: str
) -> None:
    """Write each transition under its claim, and a row of history for each. What has lost its
    claim changes no state; only a job id that it brings is still written down (law 6).
    """
    own = [s for s in settlements if s.standing.own]
    late = [s for s in settlements if s.standing.late and not _still_unclear(s)]
    lost = [
        s for s in settlements if not (s.standing.own or s.standing.late) and not _still_unclear(s)
    ]
    if own or late:
        written = batch.encoded(_values(s) for s in (*own, *late))
        _SETTLE(connection, settled=written, now=now)
    for settlement in lost:
        _adopt(connection, settlement, now)
    facts = [
        *(_fact(s, s.ending.outcome.fact) for s in own),
        *(_fact(s, Fact.LATE_ANSWER) for s in (*late, *lost)),
    ]
    if facts:
        _TELL(connection, facts=batch.encoded(facts), now=now, who=worker)


def _still_unclear(settlement: Settlement) -> bool:
    """A late ending that tells no more than the doubt that stands already."""
    return isinstance(settlement.ending.outcome, InDoubt)


_WRITTEN = ("id", "state", "due_at", "job_id", "http_status", "error")
_settled = batch.rows(
    "settled", spent=videos.c.attempts.type, **{name: videos.c[name].type for name in _WRITTEN}
)
_now = bindparam("now", type_=videos.c.updated_at.type)
_SETTLE = Prepared(
    update(videos)
    .where(videos.c.id == _settled.c.id)
    .values(
        state=_settled.c.state,
        attempts=videos.c.attempts + _settled.c.spent,
        due_at=func.coalesce(_settled.c.due_at, videos.c.due_at),
        job_id=func.coalesce(videos.c.job_id, _settled.c.job_id),
        submitted_at=case((_settled.c.state == State.SUBMITTED, _now), else_=null()),
        http_status=_settled.c.http_status,
        error=_settled.c.error,
        updated_at=_now,
        **UNCLAIMED,
    )
)


def _values(settlement: Settlement) -> tuple[object, ...]:
    """A row of ``_SETTLE``. Expiry has counted a late one's attempt already."""
    transition = settlement.transition
    return (
        int(transition.spent) - int(settlement.standing.late),
        settlement.ending.claim.video_id,
        transition.state,
        transition.due_at,
        transition.job_id,
        settlement.ending.outcome.status,
        transition.error and clean(transition.error),
    )


def _adopt(connection: Connection, settlement: Settlement, now: datetime) -> None:
    """A job id that came after its claim was gone: the video has it from now on, and is never
    claimed again. Where another attempt is on its way, that one settles the state.
    """
    outcome = settlement.ending.outcome
    if not isinstance(outcome, Accepted) or settlement.standing.around.holder is not None:
        return
    connection.execute(
        update(videos)
        .where(videos.c.id == settlement.ending.claim.video_id, videos.c.job_id.is_(None))
        .values(
            job_id=outcome.job_id,
            submitted_at=now,
            updated_at=now,
            state=case((videos.c.state == State.SUBMITTING, videos.c.state), else_=State.SUBMITTED),
        )
    )


_TOLD = ("video_id", "attempt", "fact", "started_at", "http_status", "message", "job_id")
_facts = batch.rows("facts", **{name: history.c[name].type for name in _TOLD})
_TELL = Prepared(
    insert(history).from_select(
        [*_TOLD, "at", "who"],
        select(
            *(_facts.c[name] for name in _TOLD),
            bindparam("now", type_=history.c.at.type),
            bindparam("who", type_=history.c.who.type),
        ),
    )
)


def _fact(settlement: Settlement, fact: Fact) -> tuple[object, ...]:
    """A row of ``_TELL``."""
    ending, holder = settlement.ending, settlement.standing.around.holder
    outcome = ending.outcome
    message = outcome.message if fact is outcome.fact else f"{outcome.fact}: {outcome.message}"
    job_id = outcome.job_id if isinstance(outcome, Accepted) else None
    if holder is not None:  # another video's job says nothing about this one
        fact, message = Fact.IN_DOUBT, f"answered with job {job_id}, which video {holder} holds"
        job_id = None
    return (
        ending.claim.video_id,
        ending.claim.attempt,
        fact,
        ending.started_at,
        outcome.status,
        message and clean(message),
        job_id,
    )

"""Preview and do what a person decides on the page, by the functions of the command line.

Doing it names the ``mark`` of its preview, and changes nothing if the mark is another one by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping

from worker.core.model import State
from worker.store import changes, hosts, leases, search, shared_state, statistics
from worker.web.asking import FILTERS, Fields, filter_of, job_id, number

BATCH = 500
"""Videos that one transaction changes."""

OPTIONS: Mapping[str, Sequence[str]] = {
    "retry": (*FILTERS, "may_buy_twice"),
    "cancel": FILTERS,
    "resolve": ("id", "job_id", "give_up"),
    "pause": ("reason",),
    "resume": ("cool_down",),
    "reconcile": (),
    "release": ("host",),
}
"""The actions, each with its fields."""


@dataclass(frozen=True, slots=True)
class ChangeOfMany:
    """A release of a host, or a retry or a cancellation of the videos that match ``fields`` at
    ``began_at``. Videos that change or come later, beyond the id ``last``, are left, so that it
    does no more than was previewed.
    """

    action: str
    fields: Fields
    began_at: datetime
    last: int = 0

    @property
    def doubts(self) -> bool:
        """Return True if videos in doubt, perhaps bought, are meant as well."""
        return "may_buy_twice" in self.fields

    @property
    def states(self) -> tuple[State, ...]:
        """Return the states that the action accepts."""
        retried = changes.retried_states(doubts=self.doubts)
        return retried if self.action == "retry" else changes.CANCELLED_STATES

    def preview(self, connection: Connection) -> dict[str, Any]:
        """Return how many it would change, three of them, and how many it leaves."""
        wanted = filter_of(self.fields, self.began_at)
        if not wanted.clauses():
            raise ValueError("which videos? give a state, ids, an error or a time")
        accepted = changes.cancelled(wanted)
        if self.action == "retry":
            accepted = changes.retried(wanted, doubts=self.doubts)
        found, meant = search.count(connection, wanted), changes.selection(connection, accepted)
        return {
            "number": meant.number,
            "mark": meant.mark,
            "possible": meant.number > 0,
            "examples": meant.examples,
            "cannot": {name: n for name, n in found.items() if name not in self.states},
            "guarded": sum(found[state] for state in self.states) - meant.number,
        }

    def go_on(
        self, connection: Connection, now: datetime, *, after: int, who: str
    ) -> tuple[int, int | None]:
        """Change the next videos after the id ``after``. Return how many were changed, and the last
        id; None if there are no more.
        """
        if self.action == "release":
            freed = hosts.release(connection, self.fields.get("host", ""), now) or 0
            return freed, freed or None
        wanted = filter_of(self.fields, self.began_at)
        states = tuple(each for each in self.states if each in (wanted.states or self.states))
        wanted = replace(wanted, states=states)
        page = search.matching(connection, wanted, after, BATCH) if states else []
        if not page:
            return 0, None
        done, left = 0, [row["id"] for row in page if not self._has_changed(row, now)]
        if left and self.action == "cancel":
            done = changes.cancel(connection, search.Filter(ids=tuple(left)), now, who)
        elif left:
            these = search.Filter(ids=tuple(left))
            done = changes.retry(connection, these, doubts=self.doubts, now=now, who=who)
        return done, page[-1]["id"]

    def _has_changed(self, row: RowMapping, now: datetime) -> bool:
        """Return True for a video that has changed since, or is new. One whose time lies ahead has
        not changed: another clock has written it.
        """
        changed_at = row["submitted_at"] or row["updated_at"]
        return bool(row["id"] > self.last or self.began_at <= changed_at <= now)


def begun(connection: Connection, action: str, fields: Fields, now: datetime) -> ChangeOfMany:
    """Return an action of many transactions that begins now."""
    return ChangeOfMany(action, fields, now, search.last_id(connection))


def preview(connection: Connection, action: str, fields: Fields, now: datetime) -> dict[str, Any]:
    """Return what an action would do now. Raises ValueError or LookupError with the remedy."""
    seen: dict[str, Any] = {"number": 0, "examples": [], "cannot": {}, "guarded": 0}
    known = shared_state.read(connection)
    match action:
        case "retry" | "cancel":
            seen = ChangeOfMany(action, fields, now).preview(connection)
        case "resolve":
            seen |= _resolved(connection, fields)
        case "release":
            meant = (each for each in hosts.held(connection) if each.host == fields.get("host"))
            seen["held"] = held = next(meant, None)
            mark = held and f"{held.since} {held.probes} {held.videos}"
            seen |= {"number": held.videos if held else 0, "mark": mark, "possible": bool(held)}
        case "pause":
            seen |= {"mark": f"{known.paused_at} {known.pause_reason}", "possible": True}
        case "resume":
            cooling = "cool_down" in fields and known.cooling(now)
            possible = bool(known.paused_at or cooling)
            seen |= {"mark": f"{known.paused_at} {cooling}", "possible": possible}
        case "reconcile":
            doubts = statistics.in_state(connection, State.IN_DOUBT)
            doubts += len(leases.lapsed(connection, now))
            possible = doubts > 0 and not known.cooling(now)  # else it would wait for its end
            seen |= {"number": doubts, "mark": str(doubts), "possible": possible}
        case _:
            raise LookupError(f"{action} is no action of this page")
    states = statistics.by_state(connection) if action == "pause" else {}
    return seen | {"paused_at": known.paused_at, "cooling": known.cooling(now), "states": states}


def _resolved(connection: Connection, fields: Fields) -> dict[str, Any]:
    ids = (number(fields, "id"),)
    if not (found := search.chosen(connection, *search.Filter(ids=ids).clauses())):
        raise LookupError(f"no video has id {ids[0]}")
    row, found_job = found[0], job_id(fields)
    holder = found_job and changes.holder_of(connection, found_job)
    return {
        "mark": f"{row['state']} {row['claims']} {row['updated_at']}",
        "possible": row["state"] == State.IN_DOUBT and not holder,
        "examples": found,
        "holder": holder,
    }


def do(connection: Connection, action: str, fields: Fields, now: datetime, who: str) -> str:
    """Do an action that is one transaction, and return a sentence about it."""
    match action:
        case "resolve":
            changes.resolve(connection, number(fields, "id"), job_id(fields), now, who)
            return f"video {fields['id']} is resolved"
        case "pause":
            shared_state.pause(connection, now, fields.get("reason") or f"by {who}")
            return "paused"
        case _:
            shared_state.resume(connection)
            if "cool_down" in fields:
                shared_state.end_cool_down(connection, now)
            return "resumed"

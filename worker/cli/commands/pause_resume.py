"""``pause`` and ``resume``: claiming stopped, and allowed again, in every process."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_change, person
from worker.core.model import State
from worker.store import shared_state, statistics


def pause(call: Invocation) -> int:
    """Stop all claims on this database."""

    def stop(connection: Connection, now: datetime) -> Mapping[str, int]:
        before = shared_state.read(connection).pause_reason
        shared_state.pause(connection, now, call.args.reason or before or f"by {person()}")
        return statistics.by_state(connection)

    with open_to_change(call.settings) as session:
        found = session.write(stop, "to pause")
    output.line(
        f"paused: {found[State.SUBMITTING]} in flight may end, {found[State.PENDING]} wait; "
        "nothing more is claimed until valossa-ingest resume"
    )
    return exits.OK


def resume(call: Invocation) -> int:
    """Allow claims again."""

    def go_on(connection: Connection, _: datetime) -> datetime | None:
        paused_at = shared_state.read(connection).paused_at
        shared_state.resume(connection)
        return paused_at

    with open_to_change(call.settings) as session:
        since = session.write(go_on, "to resume")
    ended = f"resumed; it was paused since {output.text(since)} UTC"
    output.line(ended if since else "it was not paused")
    return exits.OK

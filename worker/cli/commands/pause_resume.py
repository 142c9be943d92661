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
    print(
        f"paused: {found[State.SUBMITTING]} in flight may end, {found[State.PENDING]} wait; "
        "nothing more is claimed until valossa-ingest resume"
    )
    return exits.OK


def resume(call: Invocation) -> int:
    """Allow claims again, and with ``--cool-down`` before the end that the API asked for."""
    ends = call.args.cool_down

    def go_on(connection: Connection, now: datetime) -> tuple[datetime | None, str | None]:
        known = shared_state.read(connection)
        shared_state.resume(connection)
        if ends:
            shared_state.end_cool_down(connection, now)
        return known.paused_at, known.cooling(now)

    with open_to_change(call.settings) as session:
        since, cooling = session.write(go_on, "to resume")
    ended = f"resumed; it was paused since {output.text(since)} UTC"
    print(ended if since else "it was not paused")
    if ends:
        print(f"ended {cooling}" if cooling else "there was no cool-down")
    elif cooling:
        print(f"{cooling} goes on: valossa-ingest resume --cool-down ends it")
    return exits.OK

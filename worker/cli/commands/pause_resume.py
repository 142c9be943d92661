"""``pause``, ``resume`` and ``release``: claiming stopped, and allowed again, in every process."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_change, person
from worker.core.host import host_of
from worker.core.model import State
from worker.core.redact import readable
from worker.store import hosts, shared_state, statistics


def pause(call: Invocation) -> int:
    """Stop all claims on this database."""

    def stop(connection: Connection, now: datetime) -> Mapping[str, int]:
        before = shared_state.read(connection).pause_reason
        shared_state.pause(connection, now, call.args.reason or before or f"by {person()}")
        return statistics.by_state(connection)

    with open_to_change(call.settings) as session:
        found = session.write(stop, "to pause")
    output.paragraph(
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
    output.paragraph(ended if since else "it was not paused")
    if ends:
        output.paragraph(f"ended {cooling}" if cooling else "there was no cool-down")
    elif cooling:
        output.paragraph(f"{cooling} goes on: valossa-ingest resume --cool-down ends it")
    return exits.OK


def release(call: Invocation) -> int:
    """Make the videos of a held host due."""
    given = readable(call.args.host)
    host = host_of(given) or host_of(f"//{given}")
    with open_to_change(call.settings) as session:

        def some() -> int | None:
            return session.write(lambda c, now: hosts.release(c, host, now), "to release a host")

        freed = some()
        while freed and (more := some()):
            freed += more
        held = session.read(lambda c, _: [each.host for each in hosts.held(c)])
    if freed is None:
        names = f"held are {', '.join(held)}" if held else "no host is held"
        return exits.complain([f"{given!r} is not held: {names}"], exits.PROBLEMS)
    if call.args.json:
        output.document({"released": host, "due": freed})
    else:
        output.paragraph(f"released {host}: {freed} videos are due now")
    return exits.OK

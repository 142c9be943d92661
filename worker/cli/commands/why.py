"""``why``: failures and doubts by reason, with an example and what helps."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from worker.cli import output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing, named
from worker.cli.session import open_to_look
from worker.core.file_address import address_of
from worker.core.model import State
from worker.core.redact import readable
from worker.core.upload import remedy
from worker.store import hosts, reasons, search, shared_state, statistics, transfers, workers

LEASE_OVER = "its lease has run out: its worker has died or hangs"
RECONCILE = "valossa-ingest reconcile puts it in doubt, as a run or a drain does"

COLUMNS = ("videos", "state", "reason", "example", "what helps")


def why(call: Invocation) -> int:
    """Print the groups with their examples and what helps."""
    with open_to_look(call.settings) as session:
        found = session.read(lambda c, _: named(c, call.args))
        batch = call.args.batch and readable(call.args.batch)
        some = replace(search.called(map(readable, found)), batch=batch)
        groups = session.read(lambda c, now: _groups(c, now, some, call.settings.roots))
    if call.args.json:
        output.document(output.objects(COLUMNS, groups))
    elif output.on_terminal():
        for videos, state, reason, example, helps in groups:  # the table would be too wide
            output.paragraph(f"{videos} {state}: {output.text(reason)}")
            output.paragraph(f"what helps: {helps}", "  ")
            output.paragraph(f"an example: valossa-ingest show id={example}", "  ")
            print()
        if not groups:
            output.line("no failure and no doubt to explain")
    else:
        output.table(COLUMNS, groups)
    return complain_missing(found)


def _groups(
    connection: Connection, now: datetime, some: search.Filter, roots_here: Sequence[bytes]
) -> list[tuple[object, ...]]:
    """Return a cool-down, then failures and doubts whose messages differ in the row alone, the
    largest group first, then the hosts that hold videos, then why files are not uploaded: by this
    machine's roots, where no worker lives; then the claims that no worker settles any more.
    """
    wanted = replace(some, states=(State.FAILED, State.IN_DOUBT))
    found: list[tuple[object, ...]] = [
        *reasons.grouped(connection, search.every(connection, wanted))
    ]
    if shared_state.read(connection).held_hosts:
        held = hosts.held(connection, some)
        found += ((h.videos, State.PENDING, h.why, h.first, h.remedy) for h in held if h.videos)
    waiting = search.every(connection, replace(some, states=(State.PENDING,)))
    if (cooling := shared_state.read(connection).cooling(now)) and (first := next(waiting, None)):
        number = statistics.in_state(connection, State.PENDING, *some.clauses())
        helps = "valossa-ingest resume --cool-down ends it; it ends by itself then"
        found.insert(0, (number, State.PENDING, cooling, first["id"], helps))
    roots = workers.roots(workers.everyone(connection), now)
    roots = [*map(address_of, roots_here)] if roots is None else roots
    for number, reason, example in transfers.waiting(connection, roots, some):
        helps = remedy(reason, example)
        found.append((number, State.PENDING, f"its file: {reason}", example, helps))
    in_flight = search.every(connection, replace(some, states=(State.SUBMITTING,)))
    if over := [row["id"] for row in in_flight if row["lease_until"] <= now]:
        found.append((len(over), State.SUBMITTING, LEASE_OVER, over[0], RECONCILE))
    return found

"""``why``: failures and doubts by reason, with an example and what helps."""

from datetime import datetime

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.core.file_address import address_of
from worker.core.model import State
from worker.core.verdict import GIVE_ROOT
from worker.store import reasons, search, shared_state, statistics, transfers, workers

COLUMNS = ("videos", "state", "reason", "example", "what helps")


def why(call: Invocation) -> int:
    """Print the groups, the largest first."""
    with open_to_look(call.settings) as session:
        groups = session.read(lambda c, now: _groups(c, now, call))
    if call.args.json:
        output.document(output.objects(COLUMNS, groups))
    elif output.on_terminal():
        for videos, state, reason, example, helps in groups:  # the table would be too wide
            output.paragraph(f"{videos} {state}: {output.text(reason)}")
            output.paragraph(f"what helps: {helps}", "  ")
            output.paragraph(f"an example: valossa-ingest show {example}", "  ")
            print()
    else:
        output.table(COLUMNS, groups)
    return exits.OK


def _groups(connection: Connection, now: datetime, call: Invocation) -> list[tuple[object, ...]]:
    """Return failures and doubts whose messages differ in the row alone, as ``COLUMNS``; then why
    files are not uploaded: by this machine's roots, where no worker lives.
    """
    wanted = search.Filter(states=(State.FAILED, State.IN_DOUBT), batch=call.args.batch)
    found: list[tuple[object, ...]] = [*reasons.grouped(search.every(connection, wanted))]
    waiting = search.every(connection, search.Filter(states=(State.PENDING,)))
    if (cooling := shared_state.read(connection).cooling(now)) and (first := next(waiting, None)):
        number = statistics.in_state(connection, State.PENDING)
        helps = "valossa-ingest resume --cool-down ends it; it ends by itself then"
        found.insert(0, (number, State.PENDING, cooling, first["id"], helps))
    roots = workers.roots(workers.everyone(connection), now)
    roots = [*map(address_of, call.settings.roots)] if roots is None else roots
    for number, reason, example in transfers.waiting(connection, roots):
        found.append((number, State.PENDING, f"its file: {reason}", example, GIVE_ROOT))
    return found

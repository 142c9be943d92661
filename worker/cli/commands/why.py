"""``why``: failures and doubts by reason, with an example and what helps."""

from collections import Counter
from datetime import datetime

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.core.advice import kind, remedy
from worker.core.model import REQUEST_COLUMNS, State
from worker.store import search, shared_state, statistics
from worker.store.doubts import EVIDENCE_SEPARATOR

COLUMNS = ("videos", "state", "reason", "example", "what helps")


def why(call: Invocation) -> int:
    """Print the groups, the largest first."""
    with open_to_look(call.settings) as session:
        groups = session.read(lambda c, now: _groups(c, now, call.args.batch))
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


def _groups(connection: Connection, now: datetime, batch: str | None) -> list[tuple[object, ...]]:
    """Return failures and doubts whose messages differ in the row alone, as ``COLUMNS``."""
    wanted = search.Filter(states=(State.FAILED, State.IN_DOUBT), batch=batch)
    groups: dict[tuple[str, str], tuple[object, ...]] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for row in search.every(connection, wanted):
        state, error = State(row["state"]), (row["error"] or "").partition(EVIDENCE_SEPARATOR)[0]
        own = [row[name] for name in (*REQUEST_COLUMNS, "request_id", "job_id")]
        kinds = [(state, kind(error, own)), (state, kind(error))]
        new = (state, error, row["id"], remedy(state, row["http_status"], error))
        group = next((groups[each] for each in kinds if each in groups), new)
        groups.update((each, group) for each in kinds)
        counts[group] += 1
    found = [(number, *group) for group, number in counts.most_common()]
    waiting = search.every(connection, search.Filter(states=(State.PENDING,)))
    if (cooling := shared_state.read(connection).cooling(now)) and (first := next(waiting, None)):
        number = statistics.in_state(connection, State.PENDING)
        helps = "valossa-ingest resume --cool-down ends it; it ends by itself then"
        found.insert(0, (number, State.PENDING, cooling, first["id"], helps))
    return found

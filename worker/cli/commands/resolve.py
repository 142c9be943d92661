"""``resolve``: one doubt settled by a person's word."""

import argparse
from datetime import datetime

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import no_video
from worker.cli.session import open_to_change, person
from worker.core.model import State
from worker.core.plain_text import text
from worker.core.redact import readable
from worker.store import changes, leases, search


def resolve(call: Invocation) -> int:
    """Settle the doubt, or print why it stays."""
    with open_to_change(call.settings) as session:
        settled, sentence = session.write(lambda c, now: _settle(c, call.args, now), "to resolve")
    if not settled:
        return exits.complain([sentence], exits.PROBLEMS)
    output.paragraph(sentence)
    return exits.OK


def _settle(connection: Connection, args: argparse.Namespace, now: datetime) -> tuple[bool, str]:
    # A doubt is settled unless, in this order:
    # 1. the job is another video's; 2. the reference means no video, or several;
    # 3. the video is not in doubt. A lease that has run out is a doubt (law 4).
    holder = args.job_id is not None and changes.holder_of(connection, args.job_id)
    if holder:
        return False, f"video {holder} has job {args.job_id} already"
    found = search.find(connection, readable(args.reference))
    if not found:
        return False, no_video(args.reference)
    if len(found) > 1:
        ids = " or ".join(f"{search.ONLY_ID}{row['id']}" for row in found)
        return False, f"{args.reference!r} names {len(found)} videos: say which, {ids}"
    number, state, end = (found[0][name] for name in ("id", "state", "lease_until"))
    lapsed = {*leases.lapsed(connection, now)}
    if number in lapsed:
        leases.expire(connection, now, person(), lapsed - {number})
    if not changes.resolve(connection, number, args.job_id, now, person()):
        known = "not in_doubt"
        if state == State.SUBMITTING:
            known = f"in doubt from {text(end)} UTC on without an answer"
        return False, f"video {number} is {state}, {known}: nothing was changed"
    return True, f"{number} is {'failed' if args.give_up else 'submitted'}"

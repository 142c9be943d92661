"""``retry`` and ``cancel``: many videos changed by the shared filters."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.commands.before import LOOKED_AT, purchase
from worker.cli.commands.preflight import findings, show
from worker.cli.invocation import Invocation
from worker.cli.references import ambiguous, complain_missing, filter_of, named
from worker.cli.session import open_to_change, person
from worker.core.model import State
from worker.core.preflight import Tally
from worker.store import changes, search

ASK_FROM = 10
"""Changing this many videos or more asks first."""

ONLY_TWICE = (
    "doubts, and videos that had a job, are retried only with --may-buy-twice: it may cost twice"
)

Work = Callable[[Connection, search.Filter, datetime], int]


def retry(call: Invocation) -> int:
    """Make failed and cancelled videos due again; what may be bought, by --may-buy-twice."""
    if (names := call.args.job_status) or call.args.may_buy_again:
        if call.args.may_buy_again and names and {*names} <= {*search.WASTED}:
            return _buy_again(call)
        ways = f"retry --job-status {' or '.join(search.WASTED)} --may-buy-again buys them again"
        problem = f"a video with a job costs one more job: {ways}, after a preview"
        return exits.complain([problem], exits.USAGE)
    doubts = call.args.may_buy_twice
    return _change(
        call,
        changes.retried_states(doubts=doubts),
        lambda c, wanted, now: changes.retry(c, wanted, doubts=doubts, now=now, who=person()),
    )


def _buy_again(call: Invocation) -> int:
    """Buy another job for videos whose job brought nothing, after a preview and a question."""
    args, wanted = call.args, filter_of(call.args)

    def chosen(connection: Connection) -> changes.Selection:
        return changes.selection(connection, changes.bought_for_nothing(wanted))

    def ahead(connection: Connection, now: datetime) -> tuple[dict[str, object], Tally]:
        rows = islice(search.every(connection, wanted), LOOKED_AT)
        unbought = ({**row, "job_id": None} for row in rows)
        return purchase(connection, now, call.settings, chosen(connection).number, unbought)

    def work(connection: Connection, now: datetime) -> int:
        same = chosen(connection).mark == seen.mark
        return changes.buy_again(connection, wanted, now, person()) if same else 0

    with open_to_change(call.settings) as session:
        references, seen = session.read(lambda c, _: (named(c, args), chosen(c)))
        bought, tally = session.read(ahead)
    if problems := ambiguous(references):
        return exits.complain(problems, exits.PROBLEMS)
    complain_missing(references)
    number = seen.number
    if price := call.settings.price_per_video:
        bought["in money"] = f"{number * price:.2f} {call.settings.currency}"
    if not args.json:
        output.pairs({n: each for n, each in bought.items() if each or n.endswith("leaves")})
        show(tally)
    meant = f"retry {number} videos, which costs {number} jobs more"
    if number >= ASK_FROM and not args.yes and not output.ask(f"{meant}?"):
        why = f"nothing was changed; --yes does it unasked: {meant}"
        return exits.complain([why], exits.PROBLEMS)
    with open_to_change(call.settings) as session:
        done = session.write(work, "to retry")
    if args.json:
        found = output.keyed(bought) | {"found": findings(tally)}
        output.document({"retried": done, "left": {}, **found})
    else:
        output.pairs({"retried": done})
    return _bought(number, done)


def _bought(number: int, done: int) -> int:
    """Return the exit code; say why nothing was bought, where there was something to buy."""
    if number and not done:
        exits.complain(["other jobs have ended meanwhile: nothing was changed, look again"])
    return exits.OK if done else exits.PROBLEMS


def cancel(call: Invocation) -> int:
    """Take pending and failed videos out of the queue."""
    return _change(
        call, changes.CANCELLED_STATES, lambda c, some, now: changes.cancel(c, some, now, person())
    )


def _change(call: Invocation, accepted: Sequence[State], work: Work) -> int:
    """Change the videos of the filters, after a question if they are many; report the rest."""
    args, verb, wanted = call.args, call.args.function, filter_of(call.args)
    if not wanted.clauses():
        flags = "--batch, --state, --job-status, --error-like, --since or --until"
        return exits.complain([f"{verb} what? give ids, {flags}"], exits.USAGE)
    with open_to_change(call.settings) as session:
        references, found = session.read(lambda c, _: (named(c, args), search.count(c, wanted)))
    if problems := ambiguous(references):
        return exits.complain(problems, exits.PROBLEMS)
    complain_missing(references)
    number = sum(found[state] for state in accepted)
    doubts = found[State.IN_DOUBT] if State.IN_DOUBT in accepted else 0
    cost = f", {doubts} of them in doubt, perhaps bought already" if doubts else ""
    meant = f"{verb} {number} videos{cost}"
    if number >= ASK_FROM and not args.yes and not output.ask(f"{meant}?"):
        why = f"nothing was changed; --yes does it unasked: {meant}"
        return exits.complain([why], exits.PROBLEMS)
    with open_to_change(call.settings) as session:
        found = session.read(lambda c, _: search.count(c, wanted))
        done = session.write(lambda c, now: work(c, wanted, now), f"to {verb}")
    return _report(call, done, found, accepted)


def _report(call: Invocation, done: int, found: Counter[str], accepted: Sequence[State]) -> int:
    left = {str(state): number for state, number in found.items() if state not in accepted}
    moved_on = sum(found[state] for state in accepted) - done
    past = {"retry": "retried", "cancel": "cancelled"}[call.args.function]
    others = "changed meanwhile, given up in doubt, or with a job before"
    if moved_on > 0:
        left["moved_on" if call.args.json else others] = moved_on
    if call.args.json:
        output.document({past: done, "left": left})
    else:
        output.pairs({past: done, **{f"left, {state}": number for state, number in left.items()}})
    if call.args.function == "retry" and (State.IN_DOUBT in left or moved_on > 0):
        exits.complain([ONLY_TWICE])
    return exits.OK if done else exits.PROBLEMS

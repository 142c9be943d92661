"""``prune``: videos that are finished for long, out of the table with their history."""

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import resolved
from worker.cli.session import open_to_change
from worker.core.pruning import kept
from worker.store import pruning


def prune(call: Invocation) -> int:
    """Prune what is older than asked for, after a question."""
    args, asked = call.args, resolved(call.args.older_than)
    with open_to_change(call.settings) as session:
        before, now = session.read(lambda c, now: (pruning.boundary(c, now, asked), now))
        if (why := kept(before, asked, now)) is not None:
            since = f"nothing is pruned that has changed since {output.text(before)} UTC"
            exits.complain([f"{since}: {why}"])
        number = (
            0
            if args.yes
            else session.read(lambda c, _: pruning.count(c, before, call.settings.follow))
        )
        meant = f"prune {number} videos, unchanged since {output.text(before)} UTC"
        if number and not output.ask(f"{meant}, for good?"):
            why = f"nothing was pruned; --yes does it unasked, for good: {meant}"
            return exits.complain([why], exits.PROBLEMS)
        pruner = wiring.pruner(call.settings, session.database)
        done = session.run(pruner.prune(asked))
    told = {"pruned": done, "unchanged since": before}
    output.document(output.keyed(told)) if args.json else output.pairs(told)
    return exits.PROBLEMS if pruner.refused else exits.OK

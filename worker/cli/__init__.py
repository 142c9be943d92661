"""Run the commands. Load only what the chosen command needs: ``--help`` loads none of the rest."""

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from worker.cli import exits, signals, streams
from worker.cli.invocation import Invocation
from worker.cli.parser import FLAG_SETTINGS, parser
from worker.settings_sources import SettingsError, load, survey

WHOLE = {"check", "drain", "run"}
"""Commands that report a wrong setting together with every other problem."""

OWN = {"demo", "move"}
"""Commands whose databases are named by no setting."""


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    signals.prepare()
    streams.prepare()
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command and return its exit code. Raises SystemExit if argparse ends it."""
    code: int = exits.OK
    try:
        try:
            code = _command(arguments, environment)
        finally:
            sys.stdout.flush()
    except SettingsError as error:
        return exits.complain(error.problems)
    except streams.UnwritableError as error:
        streams.end_output()
        return code if error.unread else exits.complain([str(error)], code or exits.PROBLEMS)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def _command(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    args = parser().parse_args(arguments or ["--help"])
    flags = {name: getattr(args, name, None) for name in FLAG_SETTINGS}
    read = survey if args.function in WHOLE else load
    call = Invocation(args, read(flags, environment, args.config), environment)
    from worker import log  # noqa: PLC0415 - structlog is slow to load

    log.configure(call.settings.log_level, call.settings.log_format)
    command = importlib.import_module(f"worker.cli.commands.{args.module}")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # now something may be open
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code: int = getattr(command, args.function)(call)
    except _database_problem() as problem:
        own = args.function in OWN
        return exits.complain([str(problem) if own else exits.sourced(problem, call.loaded)])
    return code


def _database_problem() -> type[Exception]:
    from worker.db.address import DatabaseProblem  # noqa: PLC0415 - SQLAlchemy is slow to load

    return DatabaseProblem

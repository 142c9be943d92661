"""The flags of ``simulate`` and ``demo``: what a person can try without the API."""

import argparse

from worker.cli.argument_types import port, seconds


def simulate(command: argparse.ArgumentParser) -> None:
    """How it answers."""
    _door(command)
    _trouble(command)
    _shown(command)
    command.add_argument(
        "--seed", type=int, default=0, help="other dice for --fail, --list, --finish (default 0)"
    )
    command.add_argument("--book", metavar="FILE", help="every accepted job, before its answer")


def _door(command: argparse.ArgumentParser) -> None:
    """Where it is, and who is let in."""
    command.add_argument(
        "--port", type=port, default=8765, help="0 takes a free one (default 8765)"
    )
    command.add_argument(
        "--key",
        action="append",
        default=[],
        help="a key that is accepted (default demo-key); may be repeated",
    )


def _trouble(command: argparse.ArgumentParser) -> None:
    """What is in the way of an answer."""
    command.add_argument(
        "--latency", type=seconds, default=0.0, metavar="SECONDS", help="before each answer"
    )
    command.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="trouble for a share of the requests; once for each KIND; help lists the kinds",
    )
    command.add_argument("--limit", metavar="N/PERIOD", help="429 beyond it, such as 20/1s")
    command.add_argument(
        "--limit-change",
        action="append",
        default=[],
        metavar="SECONDS=N/PERIOD",
        help="another limit, so long after the first request, such as 60=5/1s; may be repeated",
    )


def _shown(command: argparse.ArgumentParser) -> None:
    """What becomes of jobs, as its list shows them."""
    command.add_argument(
        "--list",
        action="append",
        default=[],
        metavar="KIND",
        help="what list_jobs shows; may be repeated; help lists the kinds",
    )
    command.add_argument(
        "--list-delay",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long a new job is missing from list_jobs",
    )
    command.add_argument(
        "--finish", type=float, default=0.0, metavar="SHARE", help="of the jobs, finished at once"
    )
    command.add_argument(
        "--finish-after", type=seconds, metavar="SECONDS", help="the age at which a job is finished"
    )


def demo(command: argparse.ArgumentParser) -> None:
    """Where it stays."""
    command.add_argument(
        "--keep", metavar="FOLDER", help="leave the demo's database there (default: a new one)"
    )

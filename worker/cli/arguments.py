"""The flags of each command, as its help shows them."""

import argparse

from worker.cli.argument_types import job_id, moment, positive, seconds
from worker.settings import help_of

STATES = ("pending", "submitting", "submitted", "failed", "in_doubt", "cancelled")

_VALUES = {
    "media_id": "your own name for it",
    "title": "shown with the results",
    "description": "keywords are taken from it",
    "language": "what is spoken, such as fi-FI",
    "transcript_url": "address of an SRT file",
    "face_min_relative_height": "smallest face, as a share of the picture's height",
    "face_gallery_id": "whom to recognise",
    "email_group": "who gets a mail at its end",
    "callback_url": "what is called at its end",
    "priority": "higher goes first (default 0)",
    "due_at": "not before this moment (UTC)",
    "job_id": "handed in by other means, as this job",
}
"""What a video may say of itself beside its address."""


def none(_: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def as_json(command: argparse.ArgumentParser) -> None:
    """One document in place of text."""
    command.add_argument("--json", action="store_true", help="print one JSON document")


def check(command: argparse.ArgumentParser) -> None:
    """What to look at."""
    as_json(command)
    command.add_argument(
        "--online", action="store_true", help="ask list_jobs whether the key works; spends nothing"
    )


def _duplicates(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-duplicates", action="store_true", help="even if url or media_id are there already"
    )


def add(command: argparse.ArgumentParser) -> None:
    """One video."""
    as_json(command)
    command.add_argument("url", metavar="URL", help="address of the video file")
    for column, meaning in _VALUES.items():
        flag = f"--{column.replace('_', '-')}"
        command.add_argument(flag, dest=column, metavar="VALUE", help=meaning)
    _duplicates(command)


def import_(command: argparse.ArgumentParser) -> None:
    """A list, and how it is meant."""
    as_json(command)
    command.add_argument(
        "files", nargs="+", metavar="FILE", help="CSV or JSON Lines; - is standard input"
    )
    command.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=THEIRS",
        help="fill our COLUMN from the file's column THEIRS; once for each column",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="give every row this value; once for each column",
    )
    command.add_argument(
        "--rejects", metavar="FILE", help="write what could not be taken, with line and reason"
    )
    command.add_argument(
        "--update",
        action="store_true",
        help="bring the columns of known media ids (of request ids where there are none) anew: "
        "pending, failed, cancelled; a job_id settles a doubt too",
    )
    _duplicates(command)


def pace(command: argparse.ArgumentParser) -> None:
    """How fast, and how many at once."""
    command.add_argument("--rate", type=int, metavar="N", help=help_of("rate"))
    command.add_argument("--concurrency", type=int, metavar="N", help=help_of("concurrency"))


def drain(command: argparse.ArgumentParser) -> None:
    """How fast, and when it is enough."""
    as_json(command)
    pace(command)
    command.add_argument(
        "--wait", action="store_true", help="also wait for backoffs, cool-downs and doubts"
    )
    command.add_argument("--limit", type=positive, metavar="N", help="begin at most N requests")
    command.add_argument(
        "--max-seconds", type=seconds, metavar="S", help="claim nothing more after S seconds"
    )


def status(command: argparse.ArgumentParser) -> None:
    """At which pace the end is foretold."""
    as_json(command)
    command.add_argument(
        "--rate", type=int, metavar="N", help="foretell the end at this many starts per period"
    )


def _filters(command: argparse.ArgumentParser) -> None:
    """The shared filters: what is given narrows, nothing given means all."""
    command.add_argument(
        "references",
        nargs="*",
        metavar="ID",
        help="these videos, by id, media id or job id; id=7 is an id alone",
    )
    command.add_argument(
        "--state",
        action="append",
        default=[],
        choices=STATES,
        metavar="STATE",
        help=f"in this state; may be repeated: {', '.join(STATES)}",
    )
    command.add_argument("--error-like", metavar="TEXT", help="whose error contains TEXT")
    command.add_argument(
        "--since",
        type=moment,
        metavar="MOMENT",
        help="handed in, or else last changed, since then: 2026-01-31, '2026-01-31 08:00' (UTC), "
        "today, yesterday, 90m, 2h, 3d",
    )
    command.add_argument("--until", type=moment, metavar="MOMENT", help="likewise, before then")


def list_(command: argparse.ArgumentParser) -> None:
    """Which videos, how many."""
    as_json(command)
    _filters(command)
    command.add_argument("--limit", type=positive, metavar="N", help="at most N rows")


def export(command: argparse.ArgumentParser) -> None:
    """Which videos, what of them, in which form."""
    _filters(command)
    command.add_argument(
        "--columns", metavar="A,B,…", help="these columns only, in this order (default: all)"
    )
    command.add_argument("--json-lines", action="store_true", help="JSON Lines in place of CSV")


def cancel(command: argparse.ArgumentParser) -> None:
    """Which videos."""
    as_json(command)
    _filters(command)
    command.add_argument("--yes", action="store_true", help="do not ask before many")


def retry(command: argparse.ArgumentParser) -> None:
    """Which videos, doubts among them or not."""
    cancel(command)
    command.add_argument(
        "--may-buy-twice", action="store_true", help="videos in doubt too: may cost twice"
    )


def resolve(command: argparse.ArgumentParser) -> None:
    """Which doubt, and how it ends."""
    command.add_argument(
        "reference", metavar="ID", help="a video in doubt, by id, media id or request id"
    )
    verdict = command.add_mutually_exclusive_group(required=True)
    verdict.add_argument(
        "--job-id", type=job_id, metavar="X", help="its job, as the Valossa Portal shows it"
    )
    verdict.add_argument("--give-up", action="store_true", help="it is not followed any further")


def reconcile(command: argparse.ArgumentParser) -> None:
    """To do it, or only to say it."""
    as_json(command)
    command.add_argument("--dry-run", action="store_true", help="say it, but change nothing")


def audit(command: argparse.ArgumentParser) -> None:
    """What to do about the differences."""
    as_json(command)
    change = command.add_mutually_exclusive_group()
    change.add_argument(
        "--adopt", action="store_true", help="pending videos take over the job that is there"
    )
    change.add_argument(
        "--cancel-duplicates",
        action="store_true",
        help="cancel second jobs that still wait to be analysed",
    )
    command.add_argument("--yes", action="store_true", help="do not ask first")


def pause(command: argparse.ArgumentParser) -> None:
    """Why."""
    command.add_argument("--reason", metavar="TEXT", help="what status will show")


def move(command: argparse.ArgumentParser) -> None:
    """From where to where."""
    as_json(command)
    command.add_argument("--from", dest="source", metavar="URL", required=True, help="as it is now")
    command.add_argument(
        "--to", dest="target", metavar="URL", required=True, help="an empty database, or none yet"
    )


def show(command: argparse.ArgumentParser) -> None:
    """Which video."""
    as_json(command)
    command.add_argument("reference", metavar="ID", help="id, media id, request id or job id")

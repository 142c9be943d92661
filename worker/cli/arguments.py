"""Add the flags of each command, as its help shows them. Knows no command's work."""

import argparse
from collections.abc import Sequence

from worker.cli.argument_types import encoding, job_id, moment, port, positive, seconds
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
"""The optional columns of a video, each with its help."""


def none(_: argparse.ArgumentParser) -> None:
    """Add no flags."""


def as_json(command: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    command.add_argument("--json", action="store_true", help="print one JSON document")


def check(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``check``."""
    as_json(command)
    command.add_argument(
        "--online", action="store_true", help="ask list_jobs whether the key works; spends nothing"
    )


def _add_list(
    command: argparse.ArgumentParser,
    flag: str,
    metavar: str | None,
    meaning: str,
    choices: Sequence[str] | None = None,
) -> None:
    """Add a flag that may be repeated; its values come as a list."""
    command.add_argument(
        flag, action="append", default=[], choices=choices, metavar=metavar, help=meaning
    )


def _duplicates(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-duplicates", action="store_true", help="even if url or media_id are there already"
    )


def add(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``add``: one for each column of a video."""
    as_json(command)
    command.add_argument("url", metavar="URL", help="address of the video file")
    for column, meaning in _VALUES.items():
        flag = f"--{column.replace('_', '-')}"
        command.add_argument(flag, dest=column, metavar="VALUE", help=meaning)
    _duplicates(command)


def import_(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``import``."""
    add_flag = command.add_argument
    as_json(command)
    add_flag("files", nargs="+", metavar="FILE", help="CSV or JSON Lines; - is standard input")
    _add_list(
        command,
        "--map",
        "COLUMN=THEIRS",
        "fill our COLUMN from the file's column THEIRS; once for each column",
    )
    _add_list(command, "--set", "COLUMN=VALUE", "give every row this value; once for each column")
    meaning = "of the files, such as cp1252 (default utf-8)"
    add_flag("--encoding", type=encoding, default="utf-8", metavar="NAME", help=meaning)
    add_flag(
        "--rejects", metavar="FILE", help="write what could not be taken, with line and reason"
    )
    add_flag(
        "--update",
        action="store_true",
        help="bring the columns of known media ids (of request ids where there are none) anew: "
        "pending, failed, cancelled; a job_id settles a doubt too",
    )
    _duplicates(command)


def pace(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``run``: the pace."""
    command.add_argument("--rate", type=int, metavar="N", help=help_of("rate"))
    command.add_argument("--concurrency", type=int, metavar="N", help=help_of("concurrency"))


def drain(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``drain``: the pace, and when to stop."""
    add_flag = command.add_argument
    as_json(command)
    pace(command)
    add_flag("--wait", action="store_true", help="also wait for backoffs, cool-downs and doubts")
    add_flag("--limit", type=positive, metavar="N", help="begin at most N requests")
    add_flag("--max-seconds", type=seconds, metavar="S", help="claim nothing more after S seconds")


def status(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``status``."""
    as_json(command)
    command.add_argument(
        "--rate", type=int, metavar="N", help="foretell the end at this many starts per period"
    )


def _filters(command: argparse.ArgumentParser) -> None:
    """Add the shared filters. Each one given narrows the choice; none means all videos."""
    add_flag = command.add_argument
    add_flag(
        "references",
        nargs="*",
        metavar="ID",
        help="these videos, by id, media id or job id; id=7 is an id alone",
    )
    meaning = f"in this state; may be repeated: {', '.join(STATES)}"
    _add_list(command, "--state", "STATE", meaning, choices=STATES)
    add_flag("--error-like", metavar="TEXT", help="whose error contains TEXT")
    add_flag(
        "--since",
        type=moment,
        metavar="MOMENT",
        help="handed in, or else last changed, since then: 2026-01-31, '2026-01-31 08:00' (UTC), "
        "today, yesterday, 90m, 2h, 3d",
    )
    add_flag("--until", type=moment, metavar="MOMENT", help="likewise, before then")


def list_(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``list``."""
    as_json(command)
    _filters(command)
    command.add_argument("--limit", type=positive, metavar="N", help="at most N rows")


def export(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``export``."""
    add_flag = command.add_argument
    _filters(command)
    add_flag("--columns", metavar="A,B,…", help="these columns only, in this order (default: all)")
    add_flag("--json-lines", action="store_true", help="JSON Lines in place of CSV")
    add_flag("--bom", action="store_true", help="begin as Excel knows UTF-8 by")


def cancel(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``cancel``."""
    as_json(command)
    _filters(command)
    command.add_argument("--yes", action="store_true", help="do not ask before many")


def retry(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``retry``: those of ``cancel``, and the choice to include doubts."""
    cancel(command)
    command.add_argument(
        "--may-buy-twice", action="store_true", help="videos in doubt too: may cost twice"
    )


def resolve(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``resolve``: a doubt, and its end."""
    command.add_argument(
        "reference", metavar="ID", help="a video in doubt, by id, media id or request id"
    )
    verdict = command.add_mutually_exclusive_group(required=True)
    verdict.add_argument(
        "--job-id", type=job_id, metavar="X", help="its job, as the Valossa Portal shows it"
    )
    verdict.add_argument("--give-up", action="store_true", help="it is not followed any further")


def reconcile(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``reconcile``."""
    as_json(command)
    command.add_argument("--dry-run", action="store_true", help="say it, but change nothing")


def audit(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``audit``."""
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
    """Add the flags of ``pause``."""
    command.add_argument("--reason", metavar="TEXT", help="what status will show")


def move(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``move``."""
    add_flag = command.add_argument
    as_json(command)
    add_flag("--from", dest="source", metavar="URL", required=True, help="as it is now")
    add_flag(
        "--to", dest="target", metavar="URL", required=True, help="an empty database, or none yet"
    )


def show(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``show``."""
    as_json(command)
    command.add_argument("reference", metavar="ID", help="id, media id, request id or job id")


def simulate(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``simulate``."""
    add_flag = command.add_argument
    add_flag("--port", type=port, default=8765, help="0 takes a free one (default 8765)")
    _add_list(command, "--key", None, "a key that is accepted (default demo-key); may be repeated")
    _trouble(command)
    _job_list(command)
    add_flag(
        "--seed", type=int, default=0, help="other dice for --fail, --list, --finish (default 0)"
    )
    add_flag("--book", metavar="FILE", help="every accepted job, before its answer")


def _trouble(command: argparse.ArgumentParser) -> None:
    """Add the flags for delays, faults and limits."""
    add_flag = command.add_argument
    add_flag("--latency", type=seconds, default=0.0, metavar="SECONDS", help="before each answer")
    _add_list(
        command,
        "--fail",
        "KIND=SHARE",
        "trouble for a share of the requests; once for each KIND; help lists the kinds",
    )
    add_flag("--limit", metavar="N/PERIOD", help="429 beyond it, such as 20/1s")
    _add_list(
        command,
        "--limit-change",
        "SECONDS=N/PERIOD",
        "another limit, so long after the first request, such as 60=5/1s; may be repeated",
    )


def _job_list(command: argparse.ArgumentParser) -> None:
    """Add the flags for the jobs as ``list_jobs`` shows them."""
    add_flag = command.add_argument
    _add_list(
        command, "--list", "KIND", "what list_jobs shows; may be repeated; help lists the kinds"
    )
    add_flag(
        "--list-delay",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long a new job is missing from list_jobs",
    )
    add_flag(
        "--finish", type=float, default=0.0, metavar="SHARE", help="of the jobs, finished at once"
    )
    add_flag(
        "--finish-after", type=seconds, metavar="SECONDS", help="the age at which a job is finished"
    )


def demo(command: argparse.ArgumentParser) -> None:
    """Add the flags of ``demo``."""
    command.add_argument(
        "--keep", metavar="FOLDER", help="leave the demo's database there (default: a new one)"
    )

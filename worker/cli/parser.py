"""What can be typed: every command with its purpose, an example and its flags."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import shtab

from worker import __version__
from worker.settings import help_of

FLAG_SETTINGS = ("database_url", "rate", "concurrency")
"""Settings that have a flag."""

NEWCOMER = """\
three things to begin with:
  valossa-ingest demo                 see it work, on this machine alone
  valossa-ingest import videos.csv    put your list in (columns: url, media_id, title, language …)
  valossa-ingest drain                submit it, with VALOSSA_API_KEY set

exit codes of drain: 0 done · 1 a video failed or is in doubt · 75 rows wait, run it again ·
77 the key was refused · 78 configuration · 130/143 stopped by a signal
"""

STATES = ("pending", "submitting", "submitted", "failed", "in_doubt", "cancelled")


class Command(NamedTuple):
    """One command: where it is done, and what its help says."""

    name: str
    module: str
    purpose: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="valossa-ingest",
        description="Empties a table of video URLs into the Valossa Core API: "
        "none lost, none bought twice.",
        epilog=NEWCOMER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"valossa-ingest {__version__}")
    shtab.add_argument_to(
        root, "--print-completion", help="shell completion: valossa-ingest --print-completion bash"
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        added = commands.add_parser(
            command.name,
            help=command.purpose,
            description=command.purpose[0].upper() + command.purpose[1:] + ".",
            epilog=f"example:\n  valossa-ingest {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(
            module=command.module,
            function={"import": "import_", "list": "list_"}.get(command.name, command.name),
        )
        added.add_argument("--config", metavar="FILE", help="settings file (TOML)")
        added.add_argument(
            "--database", dest="database_url", metavar="URL", help=help_of("database_url")
        )
        command.arguments(added)
    return root


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON document")


def _none(_: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def _check(command: argparse.ArgumentParser) -> None:
    _json(command)
    command.add_argument(
        "--online", action="store_true", help="ask list_jobs whether the key works; spends nothing"
    )


def _add(command: argparse.ArgumentParser) -> None:
    _json(command)
    command.add_argument("url", metavar="URL", help="address of the video file")
    for column in (
        "media_id",
        "title",
        "description",
        "language",
        "transcript_url",
        "face_min_relative_height",
        "face_gallery_id",
        "email_group",
        "callback_url",
        "priority",
        "due_at",
        "job_id",
    ):
        command.add_argument(f"--{column.replace('_', '-')}", dest=column, metavar="VALUE")
    command.add_argument(
        "--allow-duplicates", action="store_true", help="even if url or media_id are there already"
    )


def _import(command: argparse.ArgumentParser) -> None:
    _json(command)
    command.add_argument(
        "files", nargs="+", metavar="FILE", help="CSV or JSON Lines; - is standard input"
    )
    command.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=THEIRS",
        help="fill our COLUMN from the file's column THEIRS",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="give every row this value",
    )
    command.add_argument(
        "--rejects", metavar="FILE", help="write what could not be taken, with line and reason"
    )
    command.add_argument(
        "--update",
        action="store_true",
        help="bring the columns of known media ids anew (pending, failed, cancelled)",
    )
    command.add_argument(
        "--allow-duplicates", action="store_true", help="even if url or media_id are there already"
    )


def _pace(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rate", type=int, metavar="N", help=help_of("rate"))
    command.add_argument("--concurrency", type=int, metavar="N", help=help_of("concurrency"))


def _drain(command: argparse.ArgumentParser) -> None:
    _json(command)
    _pace(command)
    command.add_argument(
        "--wait", action="store_true", help="also wait for backoffs, cool-downs and doubts"
    )
    command.add_argument("--limit", type=_positive, metavar="N", help="begin at most N requests")
    command.add_argument(
        "--max-seconds", type=_seconds, metavar="S", help="claim nothing more after S seconds"
    )


def _filters(command: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    if as_json:
        _json(command)
    command.add_argument("ids", nargs="*", type=_positive, metavar="ID", help="these videos")
    command.add_argument("--state", action="append", default=[], choices=STATES)
    command.add_argument("--error-like", metavar="TEXT", help="whose error contains TEXT")
    command.add_argument(
        "--since",
        type=_moment,
        metavar="MOMENT",
        help="changed since then (UTC): 2026-01-31 or 2026-01-31 08:00",
    )


def _export(command: argparse.ArgumentParser) -> None:
    _filters(command, as_json=False)
    command.add_argument("--json-lines", action="store_true", help="JSON Lines in place of CSV")


def _cancel(command: argparse.ArgumentParser) -> None:
    _filters(command)
    command.add_argument("--yes", action="store_true", help="do not ask before many")


def _resolve(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", type=_positive, metavar="ID", help="a video in doubt")
    verdict = command.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--job-id", metavar="X", help="its job, as the Valossa Portal shows it")
    verdict.add_argument("--give-up", action="store_true", help="it is not followed any further")


def _pause(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", metavar="TEXT", help="what status will show")


def _list(command: argparse.ArgumentParser) -> None:
    _filters(command)
    command.add_argument("--limit", type=_positive, metavar="N", help="at most N rows")


def _retry(command: argparse.ArgumentParser) -> None:
    _filters(command)
    command.add_argument("--yes", action="store_true", help="do not ask before many")
    command.add_argument(
        "--may-buy-twice", action="store_true", help="videos in doubt too: may cost twice"
    )


def _show(command: argparse.ArgumentParser) -> None:
    _json(command)
    command.add_argument("reference", metavar="ID", help="id, media id, request id or job id")


def _simulate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    command.add_argument(
        "--key", action="append", default=[], help="a key that is accepted (default demo-key)"
    )
    command.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    command.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="trouble for a share of the requests; KIND=help lists the kinds",
    )
    command.add_argument("--limit", metavar="N/PERIOD", help="429 beyond it, such as 20/1s")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--book", metavar="FILE", help="every accepted job, before its answer")


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keep", metavar="FOLDER", help="leave the demo's database there (default: a new one)"
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment; write 2026-01-31 or '2026-01-31 08:00' (UTC)"
        ) from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return seconds


def _positive(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 19 and int(text) > 0:  # noqa: PLR2004 - fits 63 bits
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")


COMMANDS = (
    Command("migrate", "setup", "make the database, or bring it to this version", "migrate", _none),
    Command(
        "check", "setup", "say whether all is ready, and all that is not", "check --online", _check
    ),
    Command(
        "add",
        "intake",
        "enqueue one video",
        "add https://example.com/talk.mp4 --title 'A talk' --language en-US",
        _add,
    ),
    Command(
        "import",
        "intake",
        "enqueue a list, CSV or JSON Lines",
        "import talks.csv --map media_id=id --rejects rejects.jsonl",
        _import,
    ),
    Command("drain", "work", "submit until nothing is due, then exit", "drain --wait", _drain),
    Command("run", "work", "submit for ever, as a daemon", "run --rate 5", _pace),
    Command("health", "health", "say whether the daemon's loop still turns", "health", _none),
    Command("status", "desk", "the queue in numbers, and what needs a person", "status", _json),
    Command("list", "desk", "videos by state, error or time", "list --state failed", _list),
    Command("show", "desk", "the story of one video", "show 17", _show),
    Command("why", "desk", "failures and doubts by reason, and what helps", "why", _json),
    Command(
        "export",
        "desk",
        "videos as CSV, in the columns that import reads",
        "export --state submitted --since 2026-11-01 > november.csv",
        _export,
    ),
    Command(
        "retry", "changes", "make failed videos due again", "retry --error-like language", _retry
    ),
    Command("cancel", "changes", "take videos out of the queue", "cancel --state failed", _cancel),
    Command(
        "resolve", "changes", "settle a doubt by what you found", "resolve 17 --give-up", _resolve
    ),
    Command(
        "pause",
        "changes",
        "claim nothing more, in every process on this database",
        "pause --reason 'wrong list'",
        _pause,
    ),
    Command("resume", "changes", "end a pause", "resume", _none),
    Command(
        "simulate",
        "simulate",
        "imitate the API on this machine, with faults to order",
        "simulate --latency 0.3 --fail lost=0.02 --limit 20/1s",
        _simulate,
    ),
    Command("demo", "demo", "see the whole thing work, on this machine alone", "demo", _demo),
)

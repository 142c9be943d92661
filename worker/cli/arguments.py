"""Define the flags of each command, as its help shows them. Knows no command's work."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from worker.cli.argument_types import encoding, file, job_id, moment, port, positive, seconds
from worker.settings import PROGRESS, help_of

STATES = ("pending", "submitting", "submitted", "failed", "in_doubt", "cancelled")

JOB_STATUSES = (
    *("finished", "error", "gone", "open", "overdue"),
    *("queued", "on_hold", "preparing_analysis", "processing"),
)

Flag = tuple[str, dict[str, Any]]
"""A flag's name, or a positional's, and its options for ``add_argument``."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Flags that exclude each other; one of them must be there if ``required``."""

    flags: tuple[Flag, ...]
    required: bool = False


def add_all(command: argparse.ArgumentParser, flags: Sequence[Flag | OneOf]) -> None:
    """Add flags to the parser of a command, in this order."""
    for flag in flags:
        if isinstance(flag, OneOf):
            group = command.add_mutually_exclusive_group(required=flag.required)
            for name, options in flag.flags:
                group.add_argument(name, **options)
        else:
            command.add_argument(flag[0], **flag[1])


def _switch(name: str, meaning: str) -> Flag:
    return name, {"action": "store_true", "help": meaning}


def _value(name: str, metavar: str | None, meaning: str, **options: object) -> Flag:
    return name, {"metavar": metavar, "help": meaning, **options}


def _list(name: str, metavar: str | None, meaning: str, **options: object) -> Flag:
    return _value(name, metavar, meaning, action="append", default=[], **options)


_JSON = _switch("--json", "print one JSON document")
_DUPLICATES = _switch(
    "--allow-duplicates", "even if address or media_id are there already: may buy twice"
)
_METRICS = _value(
    "--metrics-file", "FILE", "write metrics there, for a node exporter's textfiles", type=file
)
_WASTED = _switch("--allow-wasted", "even if preflight says that it is surely wasted")
_PACE = tuple(_value(f"--{name}", "N", help_of(name), type=int) for name in ("rate", "concurrency"))
_WORK = (*_PACE, ("--progress", {"choices": PROGRESS, "help": help_of("progress")}))
_BATCH = _value("--batch", "NAME", "of the batch that was imported under this name")
_LISTEN = _value("--listen", "ADDRESS", help_of("listen"))
_FILTERS = (
    _value(
        "references",
        "ID",
        "these videos, by id, media id or job id; id=7 is an id alone",
        nargs="*",
    ),
    _list(
        "--state", "STATE", f"in this state; may be repeated: {', '.join(STATES)}", choices=STATES
    ),
    _list(
        "--job-status",
        "STATUS",
        f"whose job is so; may be repeated: {', '.join(JOB_STATUSES)}; open: not ended",
        choices=JOB_STATUSES,
    ),
    _BATCH,
    _value("--error-like", "TEXT", "whose error contains TEXT"),
    _value(
        "--since",
        "MOMENT",
        "handed in, or else last changed, since then: 2026-01-31, '2026-01-31 08:00' (UTC), "
        "today, yesterday, 90m, 2h, 3d",
        type=moment,
    ),
    _value("--until", "MOMENT", "likewise, before then", type=moment),
)
"""The shared filters. Each one given narrows the choice; none means all videos."""
_CANCEL = (_JSON, *_FILTERS, _switch("--yes", "do not ask before many"))

FLAGS: Mapping[str, Sequence[Flag | OneOf]] = {
    "check": (_JSON, _switch("--online", "ask list_jobs whether the key works; spends nothing")),
    "add": (
        _JSON,
        _value("url", "URL", "address of the video file, or a path to upload it from"),
        _value("--media-id", "VALUE", "your own name for it"),
        _value("--title", "VALUE", "shown with the results"),
        _value("--description", "VALUE", "keywords are taken from it"),
        _value("--language", "VALUE", "what is spoken, such as fi-FI"),
        _value("--transcript-url", "VALUE", "address of an SRT file"),
        _value(
            "--face-min-relative-height",
            "VALUE",
            "smallest face, as a share of the picture's height",
        ),
        _value("--face-gallery-id", "VALUE", "whom to recognise"),
        _value("--email-group", "VALUE", "who gets a mail at its end"),
        _value("--callback-url", "VALUE", "what is called at its end"),
        _value("--priority", "VALUE", "higher goes first (default 0)"),
        _value("--due-at", "VALUE", "not before this moment (UTC)"),
        _value("--job-id", "VALUE", "handed in by other means, as this job"),
        _value("--batch", "NAME", "name to find, count and cancel it by"),
        _DUPLICATES,
        _WASTED,
    ),
    "import": (
        _JSON,
        _value("files", "FILE", "CSV or JSON Lines; - is standard input", nargs="*"),
        _value("--files", "PATTERN", "files to upload, such as 'media/**/*.mp4'", dest="glob"),
        _value("--media-id", "PATTERN", "of them: made of {stem}, {name}, {folder}"),
        _list(
            "--map",
            "COLUMN=THEIRS",
            "fill our COLUMN from the file's column THEIRS; once for each column",
        ),
        _value("--batch", "NAME", "name to find, count, cancel them by (default: file and day)"),
        _list("--set", "COLUMN=VALUE", "give every row this value; once for each column"),
        _value("--encoding", "NAME", "such as cp1252 (utf-8)", type=encoding, default="utf-8"),
        _value("--rejects", "FILE", "write each row that was not taken, with line and reason"),
        _switch(
            "--update",
            "bring the columns of known media ids (or request ids, or addresses) anew: "
            "pending, failed, cancelled; a job_id settles a doubt too",
        ),
        _DUPLICATES,
        _WASTED,
        _switch("--dry-run", "write nothing into the queue, say what would happen"),
    ),
    "preflight": (_JSON, *_FILTERS),
    "run": (*_WORK, _LISTEN),
    "page": (_LISTEN,),
    "drain": (
        _JSON,
        *_WORK,
        _switch("--wait", "also wait for backoffs, cool-downs and doubts"),
        _value("--limit", "N", "begin at most N requests", type=positive),
        _value("--max-seconds", "S", "claim nothing more after S seconds", type=seconds),
        _METRICS,
        _switch("--dry-run", "say what it would buy; claim and send nothing"),
        _switch("--yes", "begin at once: ask nothing, and no list of jobs first"),
    ),
    "status": (
        _JSON,
        OneOf(
            (
                _switch("--watch", "again each two seconds, until Ctrl-C"),
                _value(
                    "--html",
                    "FILE",
                    "write the page's first screen to FILE, for cron",
                    type=file,
                ),
                _switch("--check", "print the verdict alone, and exit by it"),
            )
        ),
        _value("--rate", "N", "foretell the end at this many starts per period", type=int),
        _METRICS,
    ),
    "workers": (_JSON,),
    "list": (_JSON, *_FILTERS, _value("--limit", "N", "at most N rows", type=positive)),
    "why": (_JSON, _FILTERS[0], _BATCH),
    "export": (
        *_FILTERS,
        _value("--columns", "A,B,…", "these columns only, in this order (default: all)"),
        _switch("--json-lines", "JSON Lines in place of CSV"),
        _switch("--bom", "begin with the mark by which Excel knows UTF-8"),
    ),
    "cancel": _CANCEL,
    "retry": (
        *_CANCEL,
        OneOf(
            (
                _switch("--may-buy-twice", "doubts, bought addresses too: may cost twice"),
                _switch("--may-buy-again", "with --job-status error: each costs one more job"),
            )
        ),
    ),
    "resolve": (
        _value("reference", "ID", "a video in doubt, by id, media id or request id"),
        OneOf(
            (
                _value("--job-id", "X", "its job, as the Valossa Portal shows it", type=job_id),
                _switch("--give-up", "it is not followed any further"),
            ),
            required=True,
        ),
    ),
    "reconcile": (_JSON, _switch("--dry-run", "say it, but change nothing")),
    "follow": (_JSON, _switch("--once", "ask one question, about what is due, and exit")),
    "results": (
        _JSON,
        _value(
            "what",
            None,
            "list all; verify the hash of every file; or fetch what is wanted",
            choices=("list", "verify", "fetch"),
        ),
        _switch("--missing", "with fetch: all that is not there, failures and old jobs too"),
    ),
    "audit": (
        _JSON,
        OneOf(
            (
                _switch("--adopt", "pending videos take over the job that is there"),
                _switch("--cancel-duplicates", "cancel second jobs that still wait to be analysed"),
            )
        ),
        _switch("--yes", "do not ask first"),
    ),
    "pause": (_value("--reason", "TEXT", "what status will show"),),
    "release": (
        _JSON,
        _value("--host", "HOST", "as why and status name it, or a link to it", required=True),
    ),
    "resume": (_switch("--cool-down", "end a cool-down that the API asked for as well"),),
    "prune": (
        _JSON,
        _value(
            "--older-than", "90d", "unchanged since then, or so long", type=moment, required=True
        ),
        _switch("--yes", "do not ask first"),
    ),
    "backup": (_JSON, _value("file", "FILE", "the copy, which must not be there yet", type=file)),
    "move": (
        _JSON,
        _value("--from", "URL", "as it is now", dest="source", required=True),
        _value("--to", "URL", "an empty database, or none yet", dest="target", required=True),
    ),
    "show": (_JSON, _value("reference", "ID", "id, media id, request id or job id")),
    "simulate": (
        _value("--port", None, "0 takes a free one (default 8765)", type=port, default=8765),
        _list("--key", None, "a key that is accepted (default demo-key); may be repeated"),
        _value("--latency", "SECONDS", "before each answer", type=seconds, default=0.0),
        _list(
            "--fail",
            "KIND=SHARE",
            "trouble for a share of the requests; once for each KIND; help lists the kinds",
        ),
        _value("--limit", "N/PERIOD", "429 beyond it, such as 20/1s"),
        _list(
            "--limit-change",
            "SECONDS=N/PERIOD",
            "another limit, so long after the first request, such as 60=5/1s; may be repeated",
        ),
        _list("--list", "KIND", "what list_jobs shows; may be repeated; help lists the kinds"),
        _value(
            "--list-delay",
            "SECONDS",
            "how long a new job is missing from list_jobs",
            type=seconds,
            default=0.0,
        ),
        _value("--finish", "SHARE", "of the jobs, finished at once", type=float, default=0.0),
        _value("--finish-after", "SECONDS", "the age at which a job is finished", type=seconds),
        _value("--job-seconds", "SPAN", "how long a job takes, such as 20, 10-30 or 5-15m"),
        _list("--dead-host", "HOST", "its jobs end in error; or HOST/BUCKET; may be repeated"),
        _list("--job", "KIND=SHARE", "what becomes of a share of the jobs; help lists the kinds"),
        _value(
            "--poll-again",
            "SECONDS",
            "poll_again_after_seconds of a job without end (default 30)",
            type=int,
            default=30,
        ),
        _list("--status", "KIND=SHARE", "trouble of job_status; help lists the kinds"),
        _list("--results", "KIND=SHARE", "trouble of job_results; help lists the kinds"),
        _value(
            "--results-delay",
            "SECONDS",
            "how long after its end a job's results are missing",
            type=seconds,
            default=0.0,
        ),
        _value("--result-bytes", "N", "the least size of core results", type=int, default=0),
        _value(
            "--seed",
            None,
            "other dice for all shares and for --list, --job-seconds (default 0)",
            type=int,
            default=0,
        ),
        _value("--book", "FILE", "every accepted job before its answer, and its end"),
        _list(
            "--upload-fail",
            "STEP:KIND=SHARE",
            "trouble for a share of an upload's requests; help lists steps and kinds",
        ),
        _value("--upload-life", "SECONDS", "of an unfinished upload", type=seconds, default=inf),
        _value("--chunk-bytes", "N", "of an upload (default 4194304)", type=int, default=4 << 20),
    ),
    "demo": (_value("--keep", "FOLDER", "leave the demo's database there (default: a new one)"),),
}
"""The flags of each command, by its name; some have none."""

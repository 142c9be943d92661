"""List every command: its module, purpose, example and exit codes. Imports no command."""

from collections.abc import Mapping
from dataclasses import dataclass

_ALWAYS = {2: "wrong usage", 78: "a setting is wrong, or the database cannot be used"}
_WORKED = {
    1: "a video failed in this run, a doubt is left for a person, or a host is held: see why",
    77: "the key was refused, or the same refusal came 20 times in a row",
    78: "a setting, the key, the database or api_url is wrong",
}
_SEARCHED = {0: "done, also where nothing is found", 1: "an ID is that of no video"}
_CHANGED = {0: "done; what was left is named", 1: "nothing was changed"}
_STOPPED = {129: "its terminal was closed", 130: "stopped by Ctrl-C", 143: "stopped by SIGTERM"}
_BROKEN_OFF = {code: f"{how}; the same command goes on" for code, how in _STOPPED.items()}

_EXITS: Mapping[str, Mapping[int, str]] = {
    "migrate": {0: "the database is of this version"},
    "check": {0: "all is ready", 78: "something is not; each problem is a line"},
    "add": {0: "added; its id is printed", 1: "its address or media_id is there already"},
    "import": {
        0: "every row was taken, or was there already",
        1: "some rows were rejected; the others are in",
        2: "wrong usage, or a file that is no list; nothing was taken",
        **{code: f"{how}; its last line is the way on" for code, how in _STOPPED.items()},
    },
    "preflight": {0: "done; nothing is surely wasted", 1: "something surely is, or no such video"},
    "drain": {
        0: "all that was due is submitted, or as many as --limit allows; or nothing was due",
        75: "nothing for a person to do, but rows wait, or a cap is reached: run it again",
        **_WORKED,
        1: f"{_WORKED[1]}; or its question was answered with no: nothing was claimed",
        **_STOPPED,
    },
    "run": {78: _WORKED[78], **_STOPPED},
    "health": {
        0: "the daemon is alive, and its queue works, waits or is idle",
        1: "a person is needed, or the daemon's loop has not turned for a minute",
        2: "wrong usage, or the queue is stalled",
    },
    "status": {
        0: "done; with --check: the queue works, waits or is idle",
        1: "with --check: a person is needed, or no worker is there",
        2: "wrong usage; with --check: the queue is stalled",
    },
    "page": {0: "stopped by a signal", 78: "a setting is wrong, or the address cannot be used"},
    "workers": {0: "done, also if no worker is there"},
    "list": _SEARCHED,
    "show": {0: "done", 1: "no video has this name"},
    "why": {0: "done, also where there are none", 1: "an ID is that of no video"},
    "export": _SEARCHED,
    "retry": _CHANGED,
    "cancel": _CHANGED,
    "resolve": {0: "settled", 1: "it is not in doubt, or another video has this job"},
    "reconcile": {0: "nothing is in doubt any more", 1: "doubts are left, or there is no list"},
    "follow": {
        0: "all jobs have ended, and none in an error",
        1: "jobs have ended in an error, are overdue, or get no answer: see status",
        75: "with --once: jobs have not ended yet",
        77: "the key was refused",
        78: "a setting, the key, the database or api_url is wrong",
        **_STOPPED,
    },
    "results": {
        0: "done; all is stored and as it was fetched",
        1: "a file is missing, cut or changed, a result has failed, or the folder takes none",
        75: "results are still wanted: run it again",
        77: "the key was refused",
    },
    "audit": {
        0: "they agree, or what was asked for is done",
        1: "they differ, or there is no list",
    },
    "release": {0: "its videos are due now", 1: "the host is not held"},
    "prune": {
        0: "done, also where nothing is so old",
        1: "nothing was pruned, or another program keeps rows back: the log names them",
    },
    "backup": {
        0: "the copy is there, and was read",
        1: "nothing was copied: FILE is there, or cannot be written, or the queue is on a server",
    },
    "move": {0: "all of it is there", **_BROKEN_OFF},
    "simulate": {0: "stopped by a signal", 78: "the port cannot be used"},
    "demo": {0: "done", 78: "its folder cannot be made, or has a queue", **_STOPPED},
}
"""The exit codes of each command, beside (or in place of) those of ``_ALWAYS``."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command and its help."""

    name: str
    purpose: str
    example: str

    @property
    def epilog(self) -> str:
        """Return the end of the help: the example and the exit codes."""
        codes = sorted({**_ALWAYS, **_EXITS.get(self.name, {0: "done"})}.items())
        lines = "\n".join(f"  {code:<4} {meaning}" for code, meaning in codes)
        return f"example:\n  valossa-ingest {self.example}\n\nexits:\n{lines}"


MODULES = {
    "drain": "run",
    "retry": "retry_cancel",
    "cancel": "retry_cancel",
    "pause": "pause_resume",
    "resume": "pause_resume",
    "release": "pause_resume",
}
"""Modules in ``worker.cli.commands`` that are not called like the function of their command."""

COMMANDS = (
    Command("migrate", "make the database, or bring it to this version", "migrate"),
    Command("check", "say whether all is ready, and all that is not", "check --online"),
    Command(
        "add",
        "enqueue one video",
        "add https://example.com/talk.mp4 --title 'A talk' --language en-US",
    ),
    Command(
        "import",
        "enqueue a list, CSV or JSON Lines",
        "import talks.csv --map media_id=id --rejects rejects.jsonl",
    ),
    Command("preflight", "what would be paid for nothing, and why", "preflight --since 2h"),
    Command("drain", "submit until nothing is due, then exit", "drain --wait"),
    Command("run", "submit for ever, as a daemon", "run --rate 5"),
    Command("health", "say whether the daemon's loop turns, and the verdict", "health"),
    Command(
        "page", "serve the page of the queue, without a daemon", "page --listen 127.0.0.1:8787"
    ),
    Command("status", "the queue in numbers, and what needs a person", "status"),
    Command("workers", "who works on the queue, and what is in flight", "workers"),
    Command("list", "videos by state, error or time", "list --state failed --since 2h"),
    Command("show", "the story of one video", "show 17"),
    Command("why", "failures, doubts and held hosts by reason, and what helps", "why"),
    Command(
        "export",
        "videos as CSV, in the columns that import reads",
        "export --state submitted --since 2026-11-01 --until 2026-12-01 > november.csv",
    ),
    Command("retry", "make failed videos due again", "retry --error-like language"),
    Command("cancel", "take videos out of the queue", "cancel --state pending --since 2h"),
    Command("resolve", "settle a doubt by what you found", "resolve 17 --give-up"),
    Command("reconcile", "settle doubts by the API's list of jobs, now", "reconcile --dry-run"),
    Command("follow", "ask about jobs until all have ended, and print each change", "follow"),
    Command("results", "list, verify or fetch the results of finished jobs", "results verify"),
    Command("audit", "compare the API's whole list of jobs with the table", "audit --adopt"),
    Command(
        "pause",
        "claim nothing more, in every process on this database",
        "pause --reason 'wrong list'",
    ),
    Command("resume", "end a pause, or a cool-down", "resume --cool-down"),
    Command(
        "release",
        "send the videos of a host that is held, once it serves again",
        "release --host videos.example.com",
    ),
    Command(
        "prune",
        "take what is finished for long out of the table, with its history",
        "prune --older-than 90d",
    ),
    Command("backup", "a whole copy of the queue while it is worked on", "backup copy.db"),
    Command(
        "move",
        "move the queue and its history to another database",
        "move --from sqlite:///videos.db --to sqlite:////srv/queue/videos.db",
    ),
    Command(
        "simulate",
        "imitate the API on this machine, with faults to order",
        "simulate --latency 0.3 --fail lost=0.02 --fail 429=0.02 --limit 20/1s",
    ),
    Command("demo", "see the whole thing work, on this machine alone", "demo"),
)

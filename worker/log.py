"""Name every event and format its line. Knows no verb of the queue."""

import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import TextIO, cast

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from worker.core.redact import visible

Log = FilteringBoundLogger

_TRACEBACKS = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
"""Without the values of variables, which may hold the key (law 11)."""


class Event(StrEnum):
    """Every event that the program logs."""

    RUN_STARTED = "run_started"
    RUN_STOPPING = "run_stopping"
    SIGNAL_IGNORED = "signal_ignored"
    RUN_ENDED = "run_ended"
    ATTEMPT_ENDED = "attempt_ended"
    VIDEO_REFUSED = "video_refused"
    WRITE_REFUSED = "write_refused"
    CLAIM_LOST = "claim_lost"
    LEASE_EXPIRED = "lease_expired"
    SETTLE_GIVEN_UP = "settle_given_up"
    COOL_DOWN = "cool_down"
    CAP_REACHED = "cap_reached"
    DOUBT_FOUND = "doubt_found"
    DOUBT_ABSENT = "doubt_absent"
    PRUNED = "pruned"
    UPLOAD_ENDED = "upload_ended"
    JOB_CHANGED = "job_changed"
    JOB_UNANSWERED = "job_unanswered"
    RESULT_STORED = "result_stored"
    RESULT_FAILED = "result_failed"
    RESULTS_HELD = "results_held"
    LIST_WAITED_FOR = "list_waited_for"
    LIST_READ = "list_read"
    LIST_HAS_OURS = "list_has_ours"
    LIST_SHAPE = "list_shape"
    PAGE_OPENED = "page_opened"
    HEARTBEAT_FAILED = "heartbeat_failed"
    DATABASE_WAITED_FOR = "database_waited_for"
    DATABASE_TROUBLE = "database_trouble"
    DATABASE_WORKS = "database_works"
    NOTICE_SENT = "notice_sent"
    NOTICE_FAILED = "notice_failed"


def configure(level: str, form: str) -> None:
    """Write to stderr: lines on a terminal, JSON elsewhere; ``form`` "console" or "json" forces."""
    terminal = sys.stderr.isatty()
    colors = terminal and not os.environ.get("NO_COLOR")
    console = form == "console" or (form == "auto" and terminal)
    renderer: list[Processor] = (
        [structlog.processors.format_exc_info, partial(_as_line, _COLORS if colors else {})]
        if console
        else [_TRACEBACKS, _as_json]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Turn())),
        cache_logger_on_first_use=True,
    )


class _Turn:
    """A stream that writes what one turn of the event loop has told at once, in its order. Outside
    a loop it writes each line. Where it leads is stderr at that moment, which a display replaces.
    """

    def __init__(self) -> None:
        self._told: list[str] = []
        self._seen_to: asyncio.AbstractEventLoop | None = None

    def write(self, line: str) -> None:
        """Take a line."""
        self._told.append(line)

    def flush(self) -> None:
        """Have the lines written at the end of this turn."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._end()
            return
        if self._seen_to is not loop:  # one that has ended writes no more
            self._seen_to = loop
            loop.call_soon(self._end)

    def _end(self) -> None:
        self._seen_to = None
        told, self._told = self._told, []
        sys.stderr.write("".join(told))
        sys.stderr.flush()


_LINE = json.JSONEncoder(default=repr)
"""Made once, since making it takes longer than one use."""


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _LINE.encode(event)


_COLORS = {"info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_UPPER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _as_line(colors: Mapping[str, str], _: WrappedLogger, __: str, event: EventDict) -> str:
    """Return a line for a person: time, level and event, then the video, then all that is known."""
    at, level, name = (str(event.pop(key)) for key in ("timestamp", "level", "event"))
    trace, told = event.pop("exception", None), {"video": event.pop("video", None), **event}
    said = " ".join(f"{n}={_said(value)}" for n, value in told.items() if value not in (None, ""))
    color, plain = (colors[level], "\x1b[0m") if level in colors else ("", "")
    line = f"{at[:19]}Z [{color}{level:<8}{plain}] " + visible(f"{name:<20} {said}".rstrip())
    return f"{line}\n{visible(trace)}" if trace else line


def _said(value: object) -> str:
    """Return a value in plain words on one line, in quotes if they are several."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{n} {_UPPER.sub(' ', name).lower()}" for name, n in value.items())
    words = ("no", "yes")[value] if isinstance(value, bool) else " ".join(str(value).split())
    return f'"{words}"' if " " in words else words


def logger() -> Log:
    """Return the program's log as it is configured."""
    log: Log = structlog.get_logger().bind()
    return log

"""Name every event and format its line. Knows no verb of the queue."""

import json
import logging
import sys
from enum import StrEnum

import structlog
from structlog.dev import plain_traceback
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

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
    CLAIM_LOST = "claim_lost"
    LEASE_EXPIRED = "lease_expired"
    SETTLE_GIVEN_UP = "settle_given_up"
    COOL_DOWN = "cool_down"
    CAP_REACHED = "cap_reached"
    DOUBT_FOUND = "doubt_found"
    DOUBT_ABSENT = "doubt_absent"
    LIST_WAITED_FOR = "list_waited_for"
    LIST_READ = "list_read"
    LIST_SHAPE = "list_shape"
    HEARTBEAT_FAILED = "heartbeat_failed"
    DATABASE_WAITED_FOR = "database_waited_for"
    DATABASE_TROUBLE = "database_trouble"
    DATABASE_WORKS = "database_works"


def configure(level: str, form: str) -> None:
    """Write to stderr: lines on a terminal, JSON elsewhere; ``form`` "console" or "json" forces."""
    colors = sys.stderr.isatty()
    console = form == "console" or (form == "auto" and colors)
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)]
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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


_LINE = json.JSONEncoder(default=repr)
"""Made once, since making it takes longer than one use."""


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _LINE.encode(event)


def logger() -> Log:
    """Return the program's log as it is configured."""
    log: Log = structlog.get_logger().bind()
    return log

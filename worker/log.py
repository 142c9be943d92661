"""How events look, and the list of their names. Knows no business."""

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
"""Without the values of variables, in which the key may stand (law 11)."""


class Event(StrEnum):
    """Every event that the program logs."""

    RUN_STARTED = "run_started"
    RUN_STOPPING = "run_stopping"
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
    """Write to stderr, as lines for people on a terminal and as JSON elsewhere, unless ``form``
    ("console" or "json") says which.
    """
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
"""Made once: to make it takes longer than to use it."""


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    """A line for machines."""
    return _LINE.encode(event)


def logger() -> Log:
    """The program's log, as configured by now."""
    log: Log = structlog.get_logger().bind()
    return log

"""Give a queue and this process as text that a Prometheus server reads.

Moments are Unix times, so that those of a process that hangs grow old by themselves.
"""

import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import prometheus_client as prometheus

from worker import __version__
from worker.core.model import Fact
from worker.core.notices import needs
from worker.core.reasons import WaitReason
from worker.core.verdict import VerdictState
from worker.db.schema import SCHEMA
from worker.snapshot import Snapshot
from worker.store.job_numbers import STATUSES, UNASKED
from worker.store.statistics import ANSWERS

CONTENT_TYPE = prometheus.CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "valossa_ingest_"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
"""Seconds: OpenTelemetry's for requests, and two for slow answers."""

TURNED = "loop_turned_timestamp_seconds"
"""The gauge of the last turn of a run's loop; absent in a process without one."""

UNSENT = (Fact.INVALID, Fact.RELEASED)
_REFUSED = {Fact.ACCOUNT_REFUSED: "key", Fact.WRONG_ADDRESS: "address"}
HOLDS = ("none", "database", *_REFUSED.values(), *(each.name.lower() for each in WaitReason))

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process and of its ``queue``. Those of the process begin at 0."""

    def __init__(self, queue: str) -> None:
        self.gauges: dict[str, float] = {}
        self._queue = queue
        self._registry = registry = prometheus.CollectorRegistry()
        counter = prometheus.Counter(
            f"{PREFIX}attempts",
            "Attempts of this process.",
            ("queue", "outcome"),
            registry=registry,
        )
        self._attempts: dict[str, prometheus.Counter] = {
            fact: counter.labels(queue, fact) for fact in (*ANSWERS, *UNSENT)
        }
        self._durations = {
            kind: prometheus.Histogram(
                f"{PREFIX}{kind}_duration_seconds",
                f"Each {kind} of this process.",
                ("queue",),
                buckets=BUCKETS,
                registry=registry,
            ).labels(queue)
            for kind in ("request", "database_transaction")
        }
        build = prometheus.Info(f"{PREFIX}build", "Versions.", ("queue",), registry=registry)
        versions = {"version": __version__, "schema": SCHEMA, "python": platform.python_version()}
        build.labels(queue).info(versions)

    def observe(self, kind: str, number: float) -> None:
        """Take what a run observes (worker/runner/reporter.py)."""
        if kind == "turn":
            self.gauges[TURNED] = number
        if kind in self._attempts:
            self._attempts[kind].inc()
            kind = "" if kind in UNSENT else "request"
        if kind in self._durations:
            self._durations[kind].observe(number)

    def exposition(self, seen: Snapshot | None) -> bytes:
        """Return all metrics. ``seen`` is None if the database cannot be read."""
        registry = prometheus.CollectorRegistry()
        found: Numbers = {**self.gauges, **_of_queue(seen)}
        for key, numbers in found.items():
            name, *label = key.split()
            words = f"{name.replace('_', ' ').capitalize()}. Of a queue, take the max, not the sum."
            family = prometheus.Gauge(PREFIX + name, words, ("queue", *label), registry=registry)
            for each, number in (
                numbers if isinstance(numbers, Mapping) else {"": numbers}
            ).items():
                family.labels(self._queue, *([each] if label else [])).set(number)
        return prometheus.generate_latest(registry) + prometheus.generate_latest(self._registry)

    def write(self, path: Path, seen: Snapshot | None) -> None:
        """Replace a file at once; all may read it, as a node exporter must. Raises OSError."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(self.exposition(seen))
            part.chmod(0o644)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def _in_progress(numbers: Mapping[str, int]) -> dict[str, float]:
    """Return the jobs in progress by status; those that nobody knows together."""
    known = {status: float(numbers.get(status, 0)) for status in (*STATUSES, UNASKED)}
    return known | {"other": sum(numbers.values()) - sum(known.values())}


Numbers = dict[str, float | Mapping[str, float]]
"""A number by its name; or the numbers by their label, whose name follows the name."""


def _of_queue(seen: Snapshot | None) -> Numbers:
    # What holds all is the first of: 1. The database. 2. A refusal. 3. What keeps claims back.
    if seen is None:
        return {"held reason": {each: each == "database" for each in HOLDS}}
    hold = seen.facts.held.reason.name.lower() if seen.facts.held else "none"
    if seen.facts.refusal:
        hold = _REFUSED[seen.facts.refusal.fact]
    overview, shared, state = seen.overview, seen.shared, seen.verdict.state
    moments: dict[str, datetime | None] = {
        "oldest_due": overview.oldest_due_at,
        "last_answer": overview.heard["at"] if overview.heard else None,
        "next_start": shared.next_start_at,
        "cool_down_until": shared.cool_down_until if shared.cooling(seen.now) else None,
    }
    return {
        "held reason": {each: each == hold for each in HOLDS},
        "verdict state": {each: each is state for each in VerdictState},
        "stalled": state is VerdictState.STALLED,
        "needs_person reason": needs(seen.facts),
        "videos state": overview.states,
        "due_videos": overview.due,
        "paused": shared.paused_at is not None,
        "pace_allowed_per_second": seen.rate / seen.period_seconds,
        "pace_set_per_second": seen.settings_rate / seen.period_seconds,
        "cap_used cap": {each.cap.name: each.used for each in seen.levels},
        "cap_limit cap": {each.cap.name: each.cap.most for each in seen.levels},
        "uploads_left": seen.transfer.files,
        "upload_bytes_left": seen.transfer.size - seen.transfer.sent,
        "workers_alive": seen.facts.alive,
        "bought": overview.accepted,
        "jobs_open status": _in_progress(seen.jobs.open),
        "jobs_ended end": seen.jobs.ended,
        "jobs_overdue": seen.jobs.overdue,
        "jobs_error_last_day": seen.jobs.wasted,
        "results state": seen.jobs.results,
        "held_hosts": shared.held_hosts,
        "possibly_twice": overview.possibly_twice,
        **{f"{each}_timestamp_seconds": at.timestamp() for each, at in moments.items() if at},
    }

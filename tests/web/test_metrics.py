from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update

from tests.conftest import START
from tests.parts import SETTINGS, add, let_start
from tests.store.test_job_search import LIVES, live
from worker import snapshot
from worker.core.model import Fact
from worker.core.verdict import VerdictState
from worker.db.database import Database
from worker.db.schema import account, history, results
from worker.web.metrics import HOLDS, UNSENT, Metrics

Samples = dict[str, dict[str, float]]


def read(text: bytes) -> Samples:
    """Return the values by name and label; a single value has the label "". All name the queue."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert "q" == labels.pop("queue")
            name = sample.name.removeprefix("valossa_ingest_")
            found.setdefault(name, {})["".join(labels.values())] = sample.value
    return found


async def exposed(database: Database, **settings: object) -> Samples:
    """Return what a process that has just started tells of a queue."""
    changed = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    seen = await database.read(lambda c: snapshot.take(c, changed, START))
    return read(Metrics("q").exposition(seen))


async def test_an_empty_queue_has_every_series(database: Database) -> None:
    """Everything is there from the start, at 0; moments are not there before they are."""
    found = await exposed(database, rate=30, period_seconds=60.0)
    facts = {fact for fact in Fact if fact in found["attempts_total"]}
    assert dict.fromkeys(facts, 0) == found["attempts_total"]
    assert {Fact.ACCEPTED, Fact.THROTTLED, Fact.IN_DOUBT, *UNSENT} <= facts
    assert 0 == found["request_duration_seconds_count"][""]
    assert 0 == found["database_transaction_duration_seconds_sum"][""]
    assert dict.fromkeys(VerdictState, 0.0) | {VerdictState.IDLE: 1} == found["verdict"]
    assert dict.fromkeys(HOLDS, 0.0) | {"nothing": 1} == found["held"]
    assert (
        dict.fromkeys(
            ("key", "address", "worker_silent", "doubts", "held_host", "overdue", "uploads"), 0
        )
        | {"failed": 0}
        == found["needs_person"]
    )
    assert (0.5, 0.5) == (found["pace_set_per_second"][""], found["pace_allowed_per_second"][""])
    names = ["stalled", "paused", "due_videos", "bought", "possibly_twice", "workers_alive"]
    for name in (*names, "uploads_left", "upload_bytes_left"):
        assert {"": 0} == found[name]
    moments = {name for name in found if name.endswith("timestamp_seconds")}
    assert {"next_start_timestamp_seconds"} == moments


async def test_jobs_are_told_in_numbers(database: Database) -> None:
    """Jobs by status and end, results by state, and held hosts are gauges; no status is a label
    that the API has not documented.
    """
    await live(database, LIVES)
    rows = [{"job_id": "job-finished", "type": "core", "state": "stored"}]
    await database.write(lambda c: c.execute(insert(results), rows), "test")
    await database.write(lambda c: c.execute(update(account).values(held_hosts=2)), "test")
    found = await exposed(database)
    in_progress = {"queued": 1, "processing": 1, "other": 1, "not asked yet": 1}
    assert in_progress == {status: n for status, n in found["jobs_open"].items() if n}
    assert {"finished": 1, "error": 1, "gone": 1} == found["jobs_ended"]
    assert {"stored": 1, "wanted": 0, "failed": 0} == found["results"]
    assert (1, 1, 2) == tuple(
        found[name][""] for name in ("jobs_overdue", "jobs_error_last_day", "held_hosts")
    )


async def test_a_queue_at_work_is_told_in_numbers_and_moments(database: Database) -> None:
    """Numbers are those of the snapshot, and moments are Unix times."""
    due = START - timedelta(hours=1)
    await add(database, "https://v.example/1", "https://v.example/2", due_at=due)
    await add(database, "https://v.example/3", state="failed", error="no")
    fact = {"video_id": 1, "attempt": 1, "at": due, "who": "w", "fact": Fact.ACCOUNT_REFUSED}
    await database.write(lambda c: c.execute(insert(history), [fact]), "test")
    cooling = {"cool_down_until": START + timedelta(minutes=1), "cool_down_reason": "429"}
    await database.write(lambda c: c.execute(update(account).values(cooling)), "test")
    found = await exposed(database, max_total=7)
    assert (2, 1) == (found["videos"]["pending"], found["videos"]["failed"])
    assert {"key": 1, "failed": 1} == {name: n for name, n in found["needs_person"].items() if n}
    assert 1 == found["held"]["key"]
    assert 1 == sum(found["held"].values())
    assert 1 == found["verdict"]["needs a person"]
    assert ({"max_total": 0}, {"max_total": 7}) == (found["cap_used"], found["cap_limit"])
    assert due.timestamp() == found["oldest_due_timestamp_seconds"][""]
    assert due.timestamp() == found["last_answer_timestamp_seconds"][""]
    assert START.timestamp() + 60 == found["cool_down_until_timestamp_seconds"][""]


@pytest.mark.parametrize(
    ("column", "hold"), [("paused_at", "pause"), ("cool_down_until", "cool_down")]
)
async def test_what_holds_all_is_one(database: Database, column: str, hold: str) -> None:
    """A pause holds all, and a cool-down holds what is due."""
    await add(database, "https://v.example/1", due_at=START - timedelta(hours=1))
    await let_start(database, START)
    later = {column: START + timedelta(minutes=1), "cool_down_reason": "429"}
    await database.write(lambda c: c.execute(update(account).values(later)), "test")
    found = await exposed(database)
    assert {hold} == {name for name, is_so in found["held"].items() if is_so}


def test_a_lost_database_leaves_the_process_its_numbers() -> None:
    """Without a snapshot only the process is told, and that the database holds all."""
    found = read(Metrics("q").exposition(None))
    assert {"database"} == {name for name, is_so in found["held"].items() if is_so}
    assert "videos" not in found
    assert 0 == found["attempts_total"]["accepted"]


def test_a_run_is_counted() -> None:
    """Each attempt is counted; only one that sent a request has a duration."""
    metrics = Metrics("q")
    ended = {"accepted": 0.3, "throttled": 0.02, "released": 9.0, "invalid": 0.0}
    for kind, number in ended.items():
        metrics.observe(kind, number)
    metrics.observe("database_transaction", 0.004)
    metrics.observe("turn", 1_700_000_000.0)
    metrics.observe("a kind of tomorrow", 1.0)
    found = read(metrics.exposition(None))
    assert {1.0} == {found["attempts_total"][kind] for kind in ended}
    assert 2 == found["request_duration_seconds_count"][""]
    assert 0.32 == pytest.approx(found["request_duration_seconds_sum"][""])
    assert 1 == found["request_duration_seconds_bucket"]["0.025"]
    assert 1 == found["database_transaction_duration_seconds_bucket"]["0.005"]
    assert 1_700_000_000 == found["loop_turned_timestamp_seconds"][""]

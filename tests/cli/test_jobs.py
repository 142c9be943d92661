"""``status`` and ``show`` tell of jobs, and of hosts that are held."""

import asyncio

import pytest

from tests.cli.conftest import Cli
from tests.conftest import open_database
from tests.store.test_job_search import LIVES, PLACES, live


@pytest.fixture
def lived(cli: Cli) -> Cli:
    """Return the command line on a queue with a job in each kind of life."""

    async def make() -> None:
        async with open_database(cli.url) as database:
            await live(database, LIVES)

    asyncio.run(make())
    return cli


def hold(cli: Cli) -> None:
    """Hold a host with a video."""
    cli.insert(url="https://dead.example/1.mp4", held_host="dead.example")
    cli.sql(
        "INSERT INTO hosts (host, held_since, probe_at, why) VALUES ('dead.example', ?, ?, 'so')",
        *("2026-01-01 00:00:00",) * 2,
    )
    cli.sql("UPDATE account SET held_hosts = 1")


def test_status_counts_the_jobs(lived: Cli) -> None:
    """Jobs in progress, ended and paid for nothing, and results, are a line; a held host is one."""
    lived.sql("INSERT INTO results (job_id, type, state) VALUES ('job-finished', 'core', 'wanted')")
    hold(lived)
    said = lived("status", WORKER_PRICE_PER_VIDEO="0.5").pairs()
    assert "1 queued" in said["jobs"]
    assert "1 not asked yet (1 overdue); ended: 1 finished" in said["jobs"]
    assert "1 in error (0.50 EUR spent for nothing)" in said["jobs"]
    assert said["jobs"].endswith("results: 1 wanted")
    why = "No space left on device"
    lived.sql("UPDATE results SET error = ?, next_try_at = '2099-01-01 00:00:00'", why)
    assert f"results: 1 wanted; results wait: {why}\n" in lived("status").out
    assert "dead.example (1 videos so far)" == said["held hosts"]
    assert "(money spent for nothing)" in lived("status").pairs()["jobs"]
    told = lived("status", "--json").json()
    assert ({"finished": 1, "error": 1, "gone": 1}, 1) == (
        told["jobs"]["ended"],
        told["jobs"]["overdue"],
    )
    assert ("dead.example", 1) == tuple(told["held_hosts"][0][n] for n in ("host", "videos"))


def test_status_names_a_held_host_before_a_claim_meets_its_videos(cli: Cli) -> None:
    """A host is named as soon as it is held, though no video is postponed yet."""
    hold(cli)
    cli.sql("UPDATE videos SET held_host = NULL")
    said = cli("status")
    assert "dead.example (0 videos so far)" == said.pairs()["held hosts"]
    assert "needs a person" not in said.out


def test_status_counts_what_a_list_has_shown_in_error_as_ended(lived: Cli) -> None:
    """A job that a list has shown in error is over, and its reason is still to be asked for."""
    lived.sql("UPDATE jobs SET status = 'error' WHERE job_id = 'job-queued'")
    progress, _, ended = lived("status").pairs()["jobs"].partition("; ")
    assert "error" not in progress
    assert "1 in error, the reason not asked for yet" in ended


def test_status_without_jobs_has_no_line_of_them(cli: Cli) -> None:
    """A line without a value is left out, and is null for programs."""
    cli.insert()
    assert not {"jobs", "held hosts"} & {*cli("status").pairs()}
    told = cli("status", "--json").json()
    assert (None, None) == (told["jobs"], told["held_hosts"])


@pytest.mark.parametrize(
    ("life", "following", "words"),
    [
        ("finished", "status", "next: nothing: its job has finished"),
        (
            "error",
            "status",
            "paid for nothing (no video); valossa-ingest retry id=2 --job-status e",
        ),
        ("gone", "status", "paid for nothing (gone); valossa-ingest retry id=3 --job-status gone"),
        ("queued", "status", "next: the API is asked about its job from 2026-01-01 12:00:00 UTC"),
        ("queued", "off", "is not asked what becomes of it (follow = off)"),
        ("overdue", "status", "next: its job should have ended long ago: look in the Valossa"),
        ("unasked", "status", "next: the API is asked about its job when no other one is due"),
    ],
)
def test_show_says_what_happens_next(lived: Cli, life: str, following: str, words: str) -> None:
    """A video that was handed in goes on as its job does."""
    assert words in lived("show", f"id={PLACES[life]}", WORKER_FOLLOW=following).out


def test_show_says_that_a_named_job_is_not_known_to_the_api(cli: Cli) -> None:
    """A job that a person named, and the API never showed, is not called paid for: the way out
    corrects it.
    """
    cli.insert(state="in_doubt", claims=1)
    cli("resolve", "1", "--job-id", "job-x")
    at = "2026-01-01 00:00:00"
    cli.sql("UPDATE jobs SET missing_since = ?, ended_at = ?, ended_as = 'gone'", at, at)
    said = cli("show", "1", "--json").json()[0]["next"]
    again = "if there is none: valossa-ingest retry id=1 --job-status gone --may-buy-again"
    known = "nothing by itself: the API does not know job job-x, which a person named"
    assert f"{known}; valossa-ingest resolve id=1 --job-id X corrects it; {again}" == said
    assert "1 is submitted\n" == cli("resolve", "id=1", "--job-id", "job-1").out
    assert "next: the API is asked about its job from" in cli("show", "1").out
    cli.sql("UPDATE jobs SET status = 'queued', ended_at = ?, ended_as = 'gone'", at)
    assert "paid for nothing (gone); " in cli("show", "1").out


def test_show_says_that_a_job_comes_next(lived: Cli) -> None:
    """A job that was called for, or shown in error, has no time: it is the next."""
    lived.sql("UPDATE jobs SET next_poll_at = '2000-01-01 00:00:00' WHERE job_id = 'job-queued'")
    said = lived("show", f"id={PLACES['queued']}", WORKER_FOLLOW="status").out
    assert "next: the API is asked about its job before others" in said


def test_show_has_every_job_of_a_video(lived: Cli) -> None:
    """All jobs that a video has had stand in its story, the oldest first, with their results."""
    lived.sql("UPDATE videos SET job_id = NULL, state = 'pending' WHERE id = ?", PLACES["error"])
    lived.sql(
        "UPDATE videos SET job_id = 'second', state = 'submitted', claims = 2, submitted_at ="
        " '2040-01-01 00:00:00' WHERE id = ?",
        PLACES["error"],
    )
    lived.sql(
        "INSERT INTO results (job_id, type, path, state) VALUES ('second', 'core', 'f', 'stored')"
    )
    said = lived("show", f"id={PLACES['error']}")
    first, second = (line for line in said.out.splitlines() if line.startswith("job "))
    assert "job job-error of attempt 1, error" in first
    at = "2026-01-01 12:00:00"
    assert f"no video, asked about 1 times, the last time at {at}, error at {at}" in first
    assert "job second of attempt 2, not asked yet" in second
    assert second.endswith("core stored: f")
    (told,) = lived("show", f"id={PLACES['error']}", "--json").json()
    assert ["job-error", "second"] == [job["job_id"] for job in told["jobs"]]
    assert "f" == told["jobs"][1]["results"][0]["path"]


def test_a_callback_is_shown_without_its_secret(cli: Cli) -> None:
    """The request that show prints names the address for the API, and not what signs it."""
    video = cli.insert()
    said = cli("show", f"id={video}", WORKER_CALLBACK_BASE_URL="https://hooks.example/v/")
    assert '"url": "https://hooks.example/v/callback/…"' in said.out

import asyncio
import json
import resource
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import aiohttp
import pytest

from worker.simulator import Job, Options, Simulator, faults
from worker.simulator.book import Book

MakeBody = Callable[..., dict[str, object]]


def job(number: int, accepted_at: float = 0.0) -> Job:
    """Return a job that differs from others by its number."""
    return Job(f"j-{number}", f"r-{number}", "https://videos.example/a.mp4", accepted_at)


def lines(path: Path) -> list[Job]:
    """Return the jobs on the file."""
    return [Job(**json.loads(line)) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a book may be made."""
    return tmp_path / "jobs.jsonl"


def test_a_job_is_a_line_at_once(path: Path) -> None:
    """An accepted job stands on the file, whole, before anything else happens."""
    book = Book(path)
    book.open()
    book.enter(job(1), "secret-key")
    assert [job(1)] == lines(path)
    book.close()
    book.close()
    assert "secret-key" not in path.read_text()


def test_a_book_is_read_back_and_continued(path: Path) -> None:
    """A second book reads the first one's jobs and adds to them."""
    for number in (1, 2):
        book = Book(path)
        book.open()
        book.enter(job(number), "k")
        book.close()
    assert [job(1), job(2)] == book.jobs
    assert [job(1), job(2)] == lines(path)


def test_opening_again_reads_nothing_twice(path: Path) -> None:
    """A book that was closed and opened holds every job once."""
    book = Book(path)
    for _ in range(2):
        book.open()
        book.close()
    book.open()
    book.enter(job(1), "k")
    book.close()
    book.open()
    book.close()
    assert [job(1)] == book.jobs


@pytest.mark.parametrize("damage", ["nonsense\n", '{"job_id": "j"}\n', "[]\n", "5\n", '{"job_id"'])
def test_a_damaged_book_is_refused(path: Path, damage: str) -> None:
    """A line that is no job is an error naming file and line, not a job less."""
    path.write_text(json.dumps(asdict(job(1))) + "\n" + damage)
    book = Book(path)
    with pytest.raises(ValueError, match=r"jobs\.jsonl, line 2 is no job"):
        book.open()
    book.close()


def test_a_job_is_seen_by_its_key_alone() -> None:
    """Another key finds nothing, by listing or by id."""
    book = Book(None)
    book.open()
    book.enter(job(1), "mine")
    assert [job(1)] == list(book.seen_by("mine", until=0.0))
    assert [] == list(book.seen_by("theirs", until=0.0))
    assert job(1) == book.find("j-1", "mine")
    assert None is book.find("j-1", "theirs")
    assert None is book.find("j-2", "mine")


def test_a_job_read_back_is_seen_by_every_key(path: Path) -> None:
    """The file does not tell whose a job is, so none is hidden after a restart."""
    path.write_text(json.dumps(asdict(job(1))) + "\n")
    book = Book(path)
    book.open()
    book.close()
    assert [job(1)] == list(book.seen_by("any", until=0.0))
    assert job(1) == book.find("j-1", "any")


@pytest.mark.parametrize("kind", [None, *faults.BOUGHT])
async def test_a_job_is_booked_before_it_is_answered(
    path: Path, client: aiohttp.ClientSession, make_body: MakeBody, kind: str | None
) -> None:
    """While the client still waits for whatever answer, the job stands on the file already."""
    script = {1: kind} if kind else {}
    async with Simulator(Options(book=path, script=script, latency_seconds=60)) as simulator:
        asked = asyncio.create_task(_post(client, simulator.url, make_body()))
        await simulator.wait_for_accepted(1)
        assert not asked.done()
        assert 1 == len(simulator.accepted)
        assert simulator.accepted == lines(path)
        asked.cancel()


async def test_a_restart_knows_its_jobs(
    path: Path, client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A new simulator on an old book lists the old jobs, and gives no old id to a new one."""
    for number in (1, 2):
        async with Simulator(Options(book=path)) as simulator:
            await _post(client, simulator.url, make_body(f"r-{number}"))
            async with client.get(
                f"{simulator.url}/list_jobs", params={"api_key": "demo-key"}
            ) as answer:
                listed = (await answer.json())["jobs"]
    assert ["r-1", "r-2"] == [each["customer_media_info"]["id"] for each in listed]
    assert 2 == len({each["job_id"] for each in listed})
    assert 2 == len(lines(path))


def test_a_book_that_cannot_be_written_holds_no_job(path: Path) -> None:
    """A job that did not reach the file is not accepted, and the error is not hidden."""
    book = Book(path)
    book.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            book.enter(job(1), "k")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [] == book.jobs
    book.enter(job(2), "k")
    book.close()
    assert [job(2)] == lines(path)


async def _post(client: aiohttp.ClientSession, url: str, body: dict[str, object]) -> int:
    async with client.post(f"{url}/new_job", json=body) as answer:
        return answer.status

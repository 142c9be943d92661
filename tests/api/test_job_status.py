"""The question about one job: its answer read leniently and bounded, the key in no text of it."""

import json
from collections.abc import Mapping

import pytest

from tests.api.test_client import client
from tests.wire import Line, Wire, answer
from worker.core.following import JobStatus, NoStatus
from worker.core.model import Fact

KEY = "sk-0123456789abcdef"


async def said(*parts: bytes, key: str = KEY, job_id: str = "j") -> tuple[object, bytes]:
    """Return what the client makes of an answer, and the request."""

    async def script(line: Line) -> None:
        await line.request()
        for part in parts:
            line.say(part)
        line.end()

    async with Wire(script) as wire, client(wire.url, key=key) as api:
        found = await api.job_status(job_id)
    return found, wire.lines[0].received


def body(**fields: object) -> bytes:
    """Return a 200 with these fields."""
    return answer(json.dumps(fields).encode())


async def test_the_question_names_key_and_job() -> None:
    """The key and the job travel in the query, percent-encoded."""
    _, asked = await said(body(status="queued"), job_id="a/b&c")
    head = f"GET /core/1.0/job_status?api_key={KEY}&job_id=a/b%26c HTTP/1.1\r\n"
    assert asked.startswith(head.encode())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {
                "job_id": "j",
                "status": "processing",
                "media_transfer_status": "finished",
                "details": "a detail",
                "poll_again_after_seconds": 30,
            },
            JobStatus(
                status="processing",
                transfer_status="finished",
                details="a detail",
                again_after=30.0,
            ),
        ),
        ({"status": "x", "job_id": None, "details": None}, JobStatus(status="x")),
        ({"job_status": "queued", "more": [1]}, JobStatus(status="queued")),
        ({"status": "", "job_status": "queued"}, JobStatus(status="queued")),
        (
            {"status": "x", "poll_again_after_seconds": "7"},
            JobStatus(status="x", again_after=7.0),
        ),
        ({"status": "x", "poll_again_after_seconds": [1]}, JobStatus(status="x")),
        ({"status": "x", "poll_again_after_seconds": "soon"}, JobStatus(status="x")),
        ({"status": "x", "poll_again_after_seconds": 10**400}, JobStatus(status="x")),
        ({"status": "x", "media_transfer_status": 7, "details": {}}, JobStatus(status="x")),
    ],
)
async def test_an_answer_is_read_leniently(
    fields: Mapping[str, object], expected: JobStatus
) -> None:
    """What is missing, null or of another type is none; only the status is needed."""
    assert (expected, True) == ((await said(body(**fields)))[0], True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": None},
        {"status": {"a": 1}},
        {"status": 7},
        {"status": ["finished"]},
        {"status": "finished", "job_id": "another"},
    ],
)
async def test_an_answer_without_its_status_says_nothing(fields: Mapping[str, object]) -> None:
    """Law 15: an answer without a status, or about another job, is no word on this one."""
    found, _ = await said(body(**fields))
    assert isinstance(found, NoStatus)
    assert not found.missing


ERRORS = b'{"errors": [{"message": "Job not found"}]}'


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            answer(ERRORS, "404 Not Found"),
            NoStatus(reason="HTTP 404: Job not found", missing=True),
        ),
        (
            answer(b"<html>no such page", "404 Not Found"),
            NoStatus(reason="HTTP 404: no such page", refused=Fact.WRONG_ADDRESS),
        ),
        (
            answer(ERRORS, "401 Unauthorized"),
            NoStatus(reason="HTTP 401: Job not found", refused=Fact.ACCOUNT_REFUSED),
        ),
        (
            answer(b"", "302 Found", Location="https://x.example/"),
            NoStatus(
                reason="HTTP 302, empty body; it points to https://x.example/",
                refused=Fact.WRONG_ADDRESS,
            ),
        ),
        (answer(b"", "429 Slow"), NoStatus(reason="HTTP 429, empty body", retry_after=1.0)),
        (
            answer(b"", "429 Slow", Retry_After="17"),
            NoStatus(reason="HTTP 429, empty body", retry_after=17.0),
        ),
        (
            answer(b"", "503 Later", Retry_After="5"),
            NoStatus(reason="HTTP 503, empty body", retry_after=5.0),
        ),
        (answer(ERRORS, "500 Oops"), NoStatus(reason="HTTP 500: Job not found")),
        (answer(b"not JSON"), NoStatus(reason="HTTP 200: not JSON")),
        (answer(b"[" * 9_000), NoStatus(reason="HTTP 200: " + "[" * 1_990)),
        (
            answer(b'[{"status": "finished"}]'),
            NoStatus(reason='HTTP 200: [{"status": "finished"}]'),
        ),
    ],
)
async def test_any_other_answer_is_no_word_on_the_job(parts: bytes, expected: NoStatus) -> None:
    """A documented 404 says that the job is unknown; nothing else says anything of it."""
    assert (expected, True) == ((await said(parts))[0], True)


async def test_a_connection_that_ends_is_no_word_on_the_job() -> None:
    """A failure of the network is named without the address, which holds the key."""
    found, _ = await said()
    assert NoStatus(reason="ServerDisconnectedError") == found


async def test_a_huge_answer_is_cut() -> None:
    """No more than 64 KiB of an answer are read, and no more than 2,000 characters are kept."""
    found, _ = await said(body(status="s" * 70_000))
    assert isinstance(found, NoStatus)
    found, _ = await said(body(status="s" * 9_000, details="d" * 9_000))
    assert isinstance(found, JobStatus)
    assert (2_000, 2_000) == (len(found.status), len(found.details or ""))


@pytest.mark.parametrize("name", ["status", "media_transfer_status", "details"])
async def test_the_key_is_blanked_in_every_text(name: str) -> None:
    """Law 11: a key that an answer repeats, and the query of a link, are in no text."""
    fields = {"status": "error", name: f"x {KEY} https://v.example/1.mp4?Signature=abcdef12"}
    found, _ = await said(body(**fields))
    assert isinstance(found, JobStatus)
    assert KEY not in repr(found)
    assert "abcdef12" not in repr(found)
    failed, _ = await said(answer(json.dumps({"errors": [{"message": KEY}]}).encode(), "400 Bad"))
    assert NoStatus(reason="HTTP 400: [key]") == failed

"""The documented endpoints, without trouble."""

import json
from collections.abc import Callable

import aiohttp
import pytest

from worker.simulator import Options, Simulator

Body = dict[str, object]
MakeBody = Callable[..., Body]

BOTH = Options(keys=frozenset({"demo-key", "other-key"}))


async def post(
    client: aiohttp.ClientSession, url: str, body: object
) -> tuple[int, dict[str, object]]:
    """Post the body as JSON; return status and answer."""
    async with client.post(url, json=body) as answer:
        return answer.status, await answer.json()


async def get(
    client: aiohttp.ClientSession, url: str, **params: str
) -> tuple[int, dict[str, object]]:
    """Get the URL with these parameters; return status and answer."""
    async with client.get(url, params=params) as answer:
        return answer.status, await answer.json()


def errors(*messages: str) -> dict[str, object]:
    """Return the documented body of an error."""
    return {"errors": [{"message": message} for message in messages]}


async def test_a_video_becomes_a_job(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """An accepted request is answered with the id of the job that was made from it."""
    async with Simulator(Options()) as simulator:
        status, answer = await post(client, f"{simulator.url}/new_job", make_body("r-9"))
        job = simulator.accepted[0]
    assert (200, {"job_id": job.job_id}) == (status, answer)
    assert ("r-9", "https://videos.example/r-9.mp4") == (job.request_id, job.url)


async def test_a_request_is_on_record_without_its_key(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The record holds what was sent but for the key."""
    async with Simulator(Options()) as simulator:
        await post(client, f"{simulator.url}/new_job", make_body("r-9"))
    (request,) = simulator.requests
    assert (1, None, "r-9") == (request.number, request.kind, request.request_id)
    assert {"media": make_body("r-9")["media"]} == request.body
    assert "demo-key" not in repr(simulator.requests)


@pytest.mark.parametrize("key", ["wrong", "", None, ["demo-key"]])
async def test_a_wrong_key_is_refused(
    client: aiohttp.ClientSession, make_body: MakeBody, key: object
) -> None:
    """Only a key that the simulator was given is taken, as text."""
    async with Simulator(Options()) as simulator:
        body = {**make_body(), "api_key": key}
        answer = await post(client, f"{simulator.url}/new_job", body)
        assert (401, errors("Invalid API key")) == answer
        assert [] == simulator.accepted


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "application/json"),
        (json.dumps({"api_key": "demo-key"}).encode(), "text/plain"),
    ],
)
async def test_what_is_not_a_json_object_is_refused(
    client: aiohttp.ClientSession, data: bytes, content_type: str
) -> None:
    """A body that is no JSON object, or is not sent as JSON, is malformed."""
    async with Simulator(Options()) as simulator:
        headers = {"Content-Type": content_type}
        url = f"{simulator.url}/new_job"
        async with client.post(url, data=data, headers=headers) as answer:
            assert 400 == answer.status
            assert errors("Malformed request body") == await answer.json()
        assert [(None, None)] == [(each.body, each.url) for each in simulator.requests]


async def test_a_body_that_does_not_unpack_is_refused(client: aiohttp.ClientSession) -> None:
    """A body that is not what its encoding says is malformed, not an error of the server."""
    async with Simulator(Options()) as simulator:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        url = f"{simulator.url}/new_job"
        async with client.post(url, data=b"not gzip", headers=headers) as answer:
            assert 400 == answer.status


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"media": {"title": "t"}}, "Missing required field: media.video.url"),
        ({"priority": 1}, "Unknown field: priority"),
        ({"callback": {"url": "hook"}}, "Invalid value: callback.url"),
    ],
)
async def test_a_wrong_body_is_refused_by_name(
    client: aiohttp.ClientSession, make_body: MakeBody, more: Body, message: str
) -> None:
    """A missing, unknown or invalid field is refused under its name, and nothing is bought."""
    async with Simulator(Options()) as simulator:
        answer = await post(client, f"{simulator.url}/new_job", {**make_body(), **more})
        assert (400, errors(message)) == answer
        assert [] == simulator.accepted


async def test_jobs_are_listed(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """The list tells id, state, customer's id and URL of every job; no id where none was sent."""
    async with Simulator(Options()) as simulator:
        body = make_body("r-1")
        await post(client, f"{simulator.url}/new_job", body)
        bare = {**body, "media": {"video": {"url": "https://videos.example/b.mp4"}}}
        await post(client, f"{simulator.url}/new_job", bare)
        answer = await get(client, f"{simulator.url}/list_jobs", api_key="demo-key")
        first, second = simulator.accepted
    expected = [
        {
            "job_id": first.job_id,
            "status": "queued",
            "customer_media_info": {"id": "r-1"},
            "media": {"video": {"url": "https://videos.example/r-1.mp4"}},
        },
        {
            "job_id": second.job_id,
            "status": "queued",
            "media": {"video": {"url": "https://videos.example/b.mp4"}},
        },
    ]
    assert (200, {"jobs": expected}) == answer


async def test_a_young_job_is_missing_from_the_list(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Within the delay of the list a job shows by its id alone."""
    async with Simulator(Options(list_delay_seconds=3600)) as simulator:
        await post(client, f"{simulator.url}/new_job", make_body())
        key, job_id = "demo-key", simulator.accepted[0].job_id
        listed = await get(client, f"{simulator.url}/list_jobs", api_key=key)
        status, _ = await get(client, f"{simulator.url}/job_status", api_key=key, job_id=job_id)
        assert (200, {"jobs": []}) == listed
        assert 200 == status
        simulator.options = Options()
        _, listing = await get(client, f"{simulator.url}/list_jobs", api_key=key)
        assert [job_id] == [job["job_id"] for job in _jobs(listing)]


async def test_keys_do_not_see_each_other(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A job is listed, told and cancelled with the key that made it and with no other."""
    async with Simulator(BOTH) as simulator:
        url = simulator.url
        await post(client, f"{url}/new_job", make_body(key="demo-key"))
        job_id = simulator.accepted[0].job_id
        theirs = {"api_key": "other-key", "job_id": job_id}
        assert (200, {"jobs": []}) == await get(client, f"{url}/list_jobs", api_key="other-key")
        not_found = (404, errors("Job not found"))
        assert not_found == await get(client, f"{url}/job_status", **theirs)
        assert not_found == await post(client, f"{url}/cancel_job", theirs)
        assert "demo-key" not in repr(vars(simulator)["_book"].__dict__)


async def test_a_job_tells_its_state_until_cancelled(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A job waits until it is cancelled, once; then it is in error, and is still listed."""
    async with Simulator(Options()) as simulator:
        url = simulator.url
        await post(client, f"{url}/new_job", make_body())
        job_id = simulator.accepted[0].job_id
        which = {"api_key": "demo-key", "job_id": job_id}
        queued = {
            "job_id": job_id,
            "status": "queued",
            "media_transfer_status": "queued",
            "details": None,
            "poll_again_after_seconds": 30,
        }
        assert (200, queued) == await get(client, f"{url}/job_status", **which)
        assert (200, {}) == await post(client, f"{url}/cancel_job", which)
        cancelled = {
            "job_id": job_id,
            "status": "error",
            "media_transfer_status": "error",
            "details": "cancelled",
            "poll_again_after_seconds": None,
        }
        assert (200, cancelled) == await get(client, f"{url}/job_status", **which)
        again = await post(client, f"{url}/cancel_job", which)
        assert (400, errors("Job is not waiting in the queue")) == again
        _, listing = await get(client, f"{url}/list_jobs", api_key="demo-key")
        assert ["error"] == [job["status"] for job in _jobs(listing)]


async def test_every_endpoint_wants_a_key_and_what_it_asks_for(
    client: aiohttp.ClientSession,
) -> None:
    """Without a key nothing is told, and with one a missing field is named."""
    async with Simulator(Options()) as simulator:
        url, no_key = simulator.url, (401, errors("Invalid API key"))
        assert no_key == await get(client, f"{url}/list_jobs")
        assert no_key == await get(client, f"{url}/job_status", job_id="j")
        assert no_key == await post(client, f"{url}/cancel_job", {"job_id": "j"})
        missing = (400, errors("Missing required field: job_id"))
        assert missing == await get(client, f"{url}/job_status", api_key="demo-key")
        assert missing == await post(client, f"{url}/cancel_job", {"api_key": "demo-key"})
        malformed = (400, errors("Malformed request body"))
        assert malformed == await post(client, f"{url}/cancel_job", [])


async def test_other_paths_are_not_there(client: aiohttp.ClientSession) -> None:
    """A wrong address or method is answered with the documented body."""
    async with Simulator(Options()) as simulator:
        not_found = (404, errors("Not found"))
        assert not_found == await get(client, simulator.url.replace("core", "training"))
        assert not_found == await get(client, f"{simulator.url}/new_job")


def _jobs(listing: dict[str, object]) -> list[dict[str, object]]:
    jobs = listing["jobs"]
    assert isinstance(jobs, list)
    return jobs

"""What is asked about jobs that live, and the results of those that have finished."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from worker.simulator import (
    RESULT_KINDS,
    RESULT_TYPES,
    STATUS_KINDS,
    End,
    Options,
    Simulator,
    Span,
    parse_result_failure,
    parse_status_failure,
    polls,
    results,
)

Body = dict[str, object]
MakeBody = Callable[..., Body]

KEY = "demo-key"
LIVING = Options(job_seconds=Span(10, 10))


@pytest.fixture(autouse=True)
def _silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail every test here in which trouble made to order left a trace on stderr or in a log."""
    yield
    assert [] == caplog.get_records("call")
    assert "" == capfd.readouterr().err


@dataclass
class Turned:
    """A wall clock that tests turn."""

    seconds: float = 1_000.0

    def now(self) -> float:
        """Return its seconds."""
        return self.seconds


@dataclass
class Asking:
    """A simulator with jobs in it, its clock, and a client."""

    simulator: Simulator
    clock: Turned
    client: aiohttp.ClientSession

    async def buy(self, body: Body) -> str:
        """Hand in one video; return the id of its job."""
        async with self.client.post(f"{self.simulator.url}/new_job", json=body) as answer:
            return str((await answer.json())["job_id"])

    async def ask(self, call: str, **params: str) -> tuple[int, Any]:
        """Ask; return status and document."""
        url, asked = f"{self.simulator.url}/{call}", {"api_key": KEY, **params}
        async with self.client.get(url, params=asked) as answer:
            return answer.status, await answer.json()

    async def results(self, job_id: str, **params: str) -> tuple[int, bytes]:
        """Ask for results; return status and body."""
        asked = {"api_key": KEY, "job_id": job_id, **params}
        async with self.client.get(f"{self.simulator.url}/job_results", params=asked) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def asking(client: aiohttp.ClientSession, options: Options) -> AsyncIterator[Asking]:
    """Yield a simulator whose clock stands still."""
    clock = Turned()
    async with Simulator(options, clock.now) as simulator:
        yield Asking(simulator, clock, client)


async def test_list_and_status_show_the_same_life(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """As time passes, both calls show each status, and the end is in the book by then."""
    async with asking(client, LIVING) as world:
        job_id = await world.buy(make_body())
        seen = []
        for age in (0, 2, 5, 10):
            world.clock.seconds = 1_000.0 + age
            _, listed = await world.ask("list_jobs")
            _, told = await world.ask("job_status", job_id=job_id)
            assert [told["status"]] == [job["status"] for job in listed["jobs"]]
            seen.append((told["status"], told["poll_again_after_seconds"]))
    assert [
        ("queued", 30),
        ("preparing_analysis", 30),
        ("processing", 30),
        ("finished", None),
    ] == seen
    assert {job_id: End(job_id, "finished", 1_010.0)} == world.simulator.ends


async def test_a_dead_host_ends_jobs_in_error(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The video that cannot be downloaded says so, with details, and has no results."""
    options = replace(LIVING, dead_hosts=frozenset({"videos.example"}))
    async with asking(client, options) as world:
        job_id = await world.buy(make_body())
        world.clock.seconds += 10
        _, told = await world.ask("job_status", job_id=job_id)
        status, _ = await world.ask("job_results", job_id=job_id)
    assert {
        "job_id": job_id,
        "status": "error",
        "media_transfer_status": "error",
        "details": "The video could not be downloaded: HTTP 404",
        "poll_again_after_seconds": None,
    } == told
    assert 400 == status


async def test_a_life_is_fixed_when_it_begins(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A host that comes back changes nothing for jobs that were accepted before."""
    options = replace(LIVING, dead_hosts=frozenset({"videos.example"}))
    async with asking(client, options) as world:
        before = await world.buy(make_body("r-1"))
        world.simulator.options = LIVING
        after = await world.buy(make_body("r-2"))
        world.clock.seconds += 10
        ends = world.simulator.ends
    assert ["error", "finished"] == [ends[job_id].ended_as for job_id in (before, after)]


async def test_the_second_job_of_an_address_has_a_life_of_its_own(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A job that is bought anew does not share the fate of the first."""
    async with asking(client, Options(job_seconds=Span(1, 1_000))) as world:
        for _ in range(2):
            await world.buy(make_body())
        world.clock.seconds += 1_000
        ends = world.simulator.ends.values()
    assert 2 == len({end.ended_at for end in ends})


async def test_a_job_that_is_missing_is_in_no_answer(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A missing job is 404 and unlisted, a denied one is listed, and both are there again."""
    options = replace(LIVING, job_script={1: "missing", 2: "denied"})
    async with asking(client, options) as world:
        ids = [await world.buy(make_body(f"r-{number}")) for number in (1, 2)]
        seen = []
        for age in (3, 5, 8):
            world.clock.seconds = 1_000.0 + age
            found = [(await world.ask("job_status", job_id=job_id))[0] for job_id in ids]
            _, listed = await world.ask("list_jobs")
            seen.append((found, [job["job_id"] for job in listed["jobs"]]))
    assert [([200, 200], ids), ([404, 404], ids[1:]), ([200, 200], ids)] == seen


async def test_a_list_may_hide_every_status(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The kind no-status takes the status away, under either name, and nothing else."""
    async with asking(client, replace(LIVING, listing=("no-status",))) as world:
        job_id = await world.buy(make_body())
        for kinds in (("no-status",), ("no-status", "bare"), ("no-status", "nested")):
            world.simulator.options = replace(LIVING, listing=kinds)
            _, listed = await world.ask("list_jobs")
            (job,) = listed["jobs"]
            assert job_id == job["job_id"]
            assert not {"status", "job_status"} & job.keys()


async def test_each_question_is_kept_with_its_time(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The questions of each call are kept in their order; one without a key is none."""
    async with asking(client, LIVING) as world:
        job_id = await world.buy(make_body())
        await world.ask("list_jobs")
        await world.ask("list_jobs", api_key="wrong")
        world.clock.seconds += 5
        await world.ask("job_status", job_id=job_id)
        await world.ask("job_results", job_id=job_id)
        asked = [(each.call, each.at, each.job_id) for each in world.simulator.questions]
    assert [
        ("list_jobs", 1_000.0, None),
        ("job_status", 1_005.0, job_id),
        ("job_results", 1_005.0, job_id),
    ] == asked
    assert KEY not in repr(world.simulator.questions)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("poll-null", None), ("poll-huge", 10**29), ("poll-negative", -1), ("poll-text", "soon")],
)
async def test_a_hint_may_be_useless(
    client: aiohttp.ClientSession, make_body: MakeBody, kind: str, hint: object
) -> None:
    """The wait that job_status suggests can be anything, and the rest of the answer is true."""
    async with asking(client, replace(LIVING, status_failures={kind: 1.0})) as world:
        job_id = await world.buy(make_body())
        _, told = await world.ask("job_status", job_id=job_id)
    assert (job_id, "queued", hint) == (
        told["job_id"],
        told["status"],
        told["poll_again_after_seconds"],
    )


@pytest.mark.parametrize(("poll_seconds", "hint"), [(7, 7), (None, None)])
async def test_a_hint_can_be_chosen(
    client: aiohttp.ClientSession, make_body: MakeBody, poll_seconds: int | None, hint: object
) -> None:
    """The suggested wait is an option; None is null."""
    async with asking(client, replace(LIVING, poll_seconds=poll_seconds)) as world:
        job_id = await world.buy(make_body())
        _, told = await world.ask("job_status", job_id=job_id)
    assert hint == told["poll_again_after_seconds"]


async def test_a_status_may_be_another_jobs_or_none(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """An answer can claim that another job has finished, or leave the status out."""
    async with asking(client, LIVING) as world:
        job_id = await world.buy(make_body())
        world.simulator.options = replace(LIVING, status_failures={"wrong-id": 1.0})
        _, wrong = await world.ask("job_status", job_id=job_id)
        world.simulator.options = replace(LIVING, status_failures={"no-status": 1.0})
        _, bare = await world.ask("job_status", job_id=job_id)
    assert (polls.STRANGE_ID, "finished") == (wrong["job_id"], wrong["status"])
    assert "status" not in bare


@pytest.mark.parametrize("call", ["job_status", "job_results"])
@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("429", 429, "Too Many Requests"),
        ("retry-after-503", 503, "Service Unavailable"),
        ("proxy-200", 200, "<html>"),
        ("not-json", 200, "accepted"),
        ("echo-key", 400, KEY),
    ],
)
async def test_a_question_may_fail(
    client: aiohttp.ClientSession,
    make_body: MakeBody,
    call: str,
    kind: str,
    status: int,
    text: str,
) -> None:
    """Either call can meet any status, a proxy's page, plain text and its own key."""
    options = replace(LIVING, status_failures={kind: 1.0}, result_failures={kind: 1.0})
    async with asking(client, options) as world:
        params = {"api_key": KEY, "job_id": await world.buy(make_body())}
        async with client.get(f"{world.simulator.url}/{call}", params=params) as answer:
            assert status == answer.status
            assert ("Retry-After" in answer.headers) == (status in {429, 503})
            assert text in await answer.text()
    assert [kind] == [question.kind for question in world.simulator.questions]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        *(("job_status", kind) for kind in ("cut", "reset")),
        *(("job_results", kind) for kind in ("cut", "cut-chunk", "cut-compressed", "reset")),
    ],
)
async def test_an_answer_may_break_off(
    client: aiohttp.ClientSession, make_body: MakeBody, call: str, kind: str
) -> None:
    """A connection that ends too early is an error of the client's, not a shorter answer."""
    options = replace(LIVING, result_bytes=200_000)
    if call == "job_status":
        options = replace(options, status_failures={kind: 1.0})
    else:
        options = replace(options, result_failures={kind: 1.0})
    async with asking(client, options) as world:
        params = {"api_key": KEY, "job_id": await world.buy(make_body())}
        world.clock.seconds += 10
        with pytest.raises(aiohttp.ClientError):
            async with client.get(f"{world.simulator.url}/{call}", params=params) as answer:
                await answer.read()


async def test_every_type_of_results_is_served(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A finished job has nine types of results; core is the default and names its job."""
    async with asking(client, LIVING) as world:
        job_id = await world.buy(make_body("r-9"))
        world.clock.seconds += 10
        (job,) = world.simulator.accepted
        served = {kind: (await world.results(job_id, type=kind))[1] for kind in RESULT_TYPES}
        assert (200, served["core"]) == await world.results(job_id)
        assert 400 == (await world.results(job_id, type="core2"))[0]
    assert 9 == len(set(served.values()))
    assert {kind: results.document(job, kind) for kind in RESULT_TYPES} == served
    for kind in results.JSON_TYPES:
        assert kind == json.loads(served[kind])["version_info"]["metadata_type"]
    info = json.loads(served["core"])["job_info"]
    assert job_id == info["job_id"]
    assert make_body("r-9")["media"] == info["request"]["media"]


async def test_results_come_after_the_end(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Results that are asked for too early are an error, and those of an unknown job are 404."""
    async with asking(client, replace(LIVING, results_delay_seconds=5)) as world:
        job_id = await world.buy(make_body())
        seen = []
        for age in (9, 10, 14.5, 15):
            world.clock.seconds = 1_000.0 + age
            seen.append((await world.results(job_id))[0])
        assert 404 == (await world.results(polls.STRANGE_ID))[0]
        missing = {"errors": [{"message": "Missing required field: job_id"}]}
        assert (400, missing) == await world.ask("job_results")
    assert [400, 400, 400, 200] == seen


@pytest.mark.parametrize("least", [0, 600, 1_000_000])
@pytest.mark.parametrize("kind", [None, "compressed"])
async def test_results_have_the_size_that_is_wanted(
    client: aiohttp.ClientSession, make_body: MakeBody, least: int, kind: str | None
) -> None:
    """Core results are at least so large, are JSON, and compression changes nothing of them."""
    failures = {kind: 1.0} if kind else {}
    options = replace(LIVING, result_bytes=least, result_failures=failures)
    async with asking(client, options) as world:
        job_ids = [await world.buy(make_body(f"r-{number}")) for number in range(9)]
        world.clock.seconds += 10
        bodies = [(await world.results(job_id))[1] for job_id in job_ids]
        jobs = world.simulator.accepted
        params = {"api_key": KEY, "job_id": job_ids[0]}
        raw = {"headers": {"Accept-Encoding": "gzip"}, "params": params}
        async with client.get(f"{world.simulator.url}/job_results", **raw) as answer:  # type: ignore[arg-type]
            length, encoding = answer.content_length, answer.headers.get("Content-Encoding")
    assert [results.document(job, "core", least) for job in jobs] == bodies
    assert all(least <= len(body) < least + 1_000 for body in bodies)
    assert job_ids == [json.loads(body)["job_info"]["job_id"] for body in bodies]
    places = {body.index(b'"job_info"') > body.index(b'"detections"') for body in bodies}
    assert {False, True} == places
    assert (None, "gzip") if kind else (len(bodies[0]), None) == (length, encoding)


async def test_results_may_be_wrong(client: aiohttp.ClientSession, make_body: MakeBody) -> None:
    """Results can be of another job, a half that looks whole, or nothing."""
    async with asking(client, LIVING) as world:
        job_id = await world.buy(make_body())
        world.clock.seconds += 10
        (job,) = world.simulator.accepted
        whole = results.document(job, "core")
        told = {}
        for kind in ("wrong-id", "half", "empty"):
            world.simulator.options = replace(LIVING, result_failures={kind: 1.0})
            told[kind] = await world.results(job_id)
    assert polls.STRANGE_ID == json.loads(told["wrong-id"][1])["job_info"]["job_id"]
    assert (200, whole[: len(whole) // 2]) == told["half"]
    assert (200, b"") == told["empty"]


def test_half_of_what_is_compressed_is_no_whole() -> None:
    """A compressed answer that breaks off cannot be unpacked to its end."""
    packed = gzip.compress(b"x" * 1_000)
    with pytest.raises(EOFError):
        gzip.decompress(packed[: len(packed) // 2])


async def test_ends_are_in_the_book_and_are_read_back(
    tmp_path: Path, client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """An end is a line of its own before an answer shows it, and survives a restart as it was."""
    path, clock = tmp_path / "jobs.jsonl", Turned()
    options = replace(LIVING, book=path, job_script={1: "error", 3: "gone", 4: "forever"})
    async with Simulator(options, clock.now) as simulator:
        world = Asking(simulator, clock, client)
        ids = [await world.buy(make_body(f"r-{number}")) for number in range(4)]
        assert 4 == len(path.read_text().splitlines())
        clock.seconds += 7
        assert 404 == (await world.ask("job_status", job_id=ids[2]))[0]
        clock.seconds += 5
        await world.ask("list_jobs")
        lines = [json.loads(line) for line in path.read_text().splitlines()[4:]]
        before = dict(simulator.ends)
    assert [
        {"job_id": ids[2], "ended_as": "gone", "ended_at": 1_005.0},
        *({"job_id": job_id, "ended_as": e, "ended_at": 1_010.0} for job_id, e in sorted(
            [(ids[0], "error"), (ids[1], "finished")])),
    ] == lines  # fmt: skip
    clock.seconds = 1_000.0
    async with Simulator(Options(book=path), clock.now) as simulator:
        assert before == simulator.ends
        world = Asking(simulator, clock, client)
        _, listed = await world.ask("list_jobs")
        seen = [(job["job_id"], job["status"]) for job in listed["jobs"]]
    assert [(ids[0], "error"), (ids[1], "finished"), (ids[3], "queued")] == seen


async def test_a_restart_goes_on_with_its_lives(
    tmp_path: Path, client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Jobs that had not ended end after a restart as they would have, each once in the book."""
    path, clock = tmp_path / "jobs.jsonl", Turned()
    options = replace(LIVING, book=path, job_seconds=Span(5, 50), job_failures={"error": 0.5})
    async with Simulator(options, clock.now) as simulator:
        for number in range(12):
            await Asking(simulator, clock, client).buy(make_body(f"r-{number}"))
        clock.seconds += 20
        early = dict(simulator.ends)
        assert 0 < len(early) < 12
    async with Simulator(options, clock.now) as simulator:
        clock.seconds += 40
        ends = simulator.ends
        assert 12 == len(ends)
        assert early.items() <= ends.items()
        assert sorted(ends.values(), key=lambda end: end.ended_at) == list(ends.values())
        assert {"error", "finished"} == {end.ended_as for end in ends.values()}
    assert 24 == len(path.read_text().splitlines())


async def test_a_stop_enters_the_ends_that_have_come(
    tmp_path: Path, client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Jobs of which nobody asked have their ends in the book when the imitation stops."""
    path, clock = tmp_path / "jobs.jsonl", Turned()
    async with Simulator(replace(LIVING, book=path), clock.now) as simulator:
        await Asking(simulator, clock, client).buy(make_body())
        clock.seconds += 10
    assert '"ended_as": "finished"' in path.read_text()


@pytest.mark.parametrize(
    ("parse", "kinds", "near"),
    [
        (parse_status_failure, STATUS_KINDS, "poll-nul"),
        (parse_result_failure, RESULT_KINDS, "cutt"),
    ],
)
def test_kinds_of_trouble_are_read_from_text(
    parse: Callable[[str], tuple[str, float]], kinds: dict[str, str], near: str
) -> None:
    """Every kind of trouble in the help can be ordered, and an unknown one is named."""
    for kind, meaning in kinds.items():
        name = kind.replace("STATUS", "503")
        assert (name, 0.5) == parse(f"{name}=0.5")
        assert "\n" not in meaning
    for wrong in (near, "STATUS", "600"):
        with pytest.raises(ValueError, match=f"'{wrong}' is no kind of "):
            parse(f"{wrong}=0.5")

"""The lists that can be ordered."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from worker.simulator import LIST_KINDS, Options, Simulator
from worker.simulator.fields import dig
from worker.simulator.lists import Listed, check_kind, document, is_finished

Body = dict[str, object]

JOBS = [Listed(f"job-{n}", "queued", f"r-{n}", f"https://videos.example/{n}") for n in range(1, 6)]

PLAIN = {
    "job_id": "job-1",
    "status": "queued",
    "customer_media_info": {"id": "r-1"},
    "media": {"video": {"url": "https://videos.example/1"}},
}


def shown(*kinds: str, jobs: Sequence[Listed] = JOBS, seed: int = 0) -> dict[str, Any]:
    """Return a list of these kinds."""
    return document(kinds, jobs, seed)


def numbers(entries: Sequence[Mapping[str, object]]) -> list[int]:
    """Return which of the jobs they are."""
    return [int(str(entry["job_id"]).removeprefix("job-")) for entry in entries]


@asynccontextmanager
async def listing(
    client: aiohttp.ClientSession, options: Options, *bodies: Body
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Yield the answer to list_jobs when jobs have been made from these bodies."""
    async with Simulator(options) as simulator:
        for body in bodies:
            async with client.post(f"{simulator.url}/new_job", json=body) as answer:
                assert 200 == answer.status
        url = f"{simulator.url}/list_jobs"
        async with client.get(url, params={"api_key": "demo-key"}) as answer:
            yield answer


def test_a_whole_list_shows_every_job_oldest_first() -> None:
    """The list without a kind shows every job whole."""
    found = shown()
    assert [1, 2, 3, 4, 5] == numbers(found["jobs"])
    assert PLAIN == found["jobs"][0]


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (["newest-2"], [4, 5]),
        (["newest-0"], []),
        (["newest-9"], [1, 2, 3, 4, 5]),
        (["oldest-2"], [1, 2]),
        (["hide-3"], [1, 2, 4, 5]),
        (["hide-1", "hide-5", "hide-9"], [2, 3, 4]),
        (["hide-4", "newest-2"], [5]),
        (["newest-4", "oldest-4"], [2, 3, 4]),
    ],
)
def test_a_list_that_is_cut_off_shows_the_rest(kinds: list[str], left: list[int]) -> None:
    """A list that is cut off shows exactly the other jobs."""
    assert left == numbers(shown(*kinds)["jobs"])


def test_a_shuffled_list_is_cut_by_age_all_the_same() -> None:
    """Order and age are two things: the newest two may come in any order, but they are those."""
    options = {tuple(numbers(shown("shuffled", seed=seed)["jobs"])) for seed in range(20)}
    assert 10 < len(options)
    assert {(1, 2, 3, 4, 5)} == {tuple(sorted(order)) for order in options}
    cut = {tuple(numbers(shown("shuffled", "newest-2", seed=seed)["jobs"])) for seed in range(20)}
    assert {(4, 5), (5, 4)} == cut


@pytest.mark.parametrize(
    ("kinds", "signs"),
    [
        (["total"], {"total": 5}),
        (["total", "hide-2"], {"total": 5}),
        (["next"], {"next": None}),
        (["next", "oldest-2"], {"next": "list_jobs?offset=2"}),
    ],
)
def test_signs_of_paging_tell_the_truth(kinds: list[str], signs: Body) -> None:
    """Total and next page count the hidden jobs too."""
    found = shown(*kinds)
    assert signs == {name: value for name, value in found.items() if name != "jobs"}


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("bare", {"job_id": "job-1", "job_status": "queued"}),
        ("no-ids", {name: PLAIN[name] for name in ("job_id", "status", "media")}),
        ("ids-when-finished", {name: PLAIN[name] for name in ("job_id", "status", "media")}),
        (
            "nested",
            {
                "job_id": "job-1",
                "job_status": "queued",
                "job_info": {
                    "request": {
                        "media": {
                            "customer_media_info": {"id": "r-1"},
                            "video": {"url": "https://videos.example/1"},
                        }
                    }
                },
            },
        ),
    ],
)
def test_an_entry_may_look_otherwise(kind: str, entry: Body) -> None:
    """An identifier that is hidden, or stands elsewhere, is so in every entry."""
    assert entry == shown(kind)["jobs"][0]


def test_only_finished_jobs_have_an_identifier() -> None:
    """The other half of the kind: what is finished shows all."""
    jobs = [Listed("a", "finished", "r-a", "u"), Listed("b", "error", "r-b", "u")]
    ids = [
        dig(job, "customer_media_info.id") for job in shown("ids-when-finished", jobs=jobs)["jobs"]
    ]
    assert ["r-a", None] == ids


def test_a_job_without_an_identifier_shows_none() -> None:
    """A job that was made without one is not shown with an empty one."""
    entry = shown(jobs=[Listed("a", "queued", None, "u")])["jobs"][0]
    assert "customer_media_info" not in entry


def test_two_arrays_hold_each_job_once() -> None:
    """A reader of one array only misses half of the jobs, and no job is in both."""
    found = shown("two-arrays")
    assert ([1, 2], [3, 4, 5]) == (numbers(found["older"]["jobs"]), numbers(found["jobs"]))


@pytest.mark.parametrize(("kind", "count"), [("strangers-7", 7), ("huge", 100_000)])
def test_strangers_stand_before_and_behind_our_jobs(kind: str, count: int) -> None:
    """Jobs of strangers are many, none twice, and have identifiers that a table could have too."""
    found = shown(kind, "total", "hide-2")
    entries = found["jobs"]
    ours = [place for place, entry in enumerate(entries) if str(entry["job_id"]).startswith("job-")]
    assert count + 5 == found["total"]
    assert count + 4 == len(entries) == len({entry["job_id"] for entry in entries})
    assert 0 < ours[0] == ours[-1] - 3 < len(entries) - 4
    strange = {dig(entry, "customer_media_info.id") for entry in entries}
    assert {"1", "2", "3", str(count)} < strange
    assert entries == shown(kind, "hide-2")["jobs"]


@pytest.mark.parametrize(
    ("kind", "status", "content_type"),
    [
        ("500", 500, "application/json"),
        ("404", 404, "application/json"),
        ("proxy-502", 502, "text/html"),
        ("proxy-200", 200, "text/html"),
    ],
)
async def test_a_list_may_fail(
    client: aiohttp.ClientSession, kind: str, status: int, content_type: str
) -> None:
    """An API without this endpoint, or with one that is down, can be imitated."""
    async with listing(client, Options(listing=[kind])) as answer:
        assert (status, content_type) == (answer.status, answer.content_type)


async def test_the_kinds_hold_on_the_wire(
    client: aiohttp.ClientSession, make_body: Callable[..., Body]
) -> None:
    """list_jobs shows the list of the chosen kinds."""
    options = Options(listing=("newest-1", "total", "no-ids"))
    async with listing(client, options, make_body("r-1"), make_body("r-2")) as answer:
        found = await answer.json()
    assert (2, 1) == (found["total"], len(found["jobs"]))
    assert {"video": {"url": "https://videos.example/r-2.mp4"}} == found["jobs"][0]["media"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (Options(), "queued"),
        (Options(finish_seconds=0), "finished"),
        (Options(finish_seconds=3600), "queued"),
        (Options(finished_share=1), "finished"),
    ],
)
async def test_jobs_may_finish(
    client: aiohttp.ClientSession, make_body: Callable[..., Body], options: Options, status: str
) -> None:
    """A job that is finished is so for every endpoint, and cannot be cancelled any more."""
    async with Simulator(options) as simulator:
        async with client.post(f"{simulator.url}/new_job", json=make_body()) as answer:
            which = {"api_key": "demo-key", **await answer.json()}
        async with client.get(f"{simulator.url}/job_status", params=which) as answer:
            told = await answer.json()
        async with client.get(f"{simulator.url}/list_jobs", params=which) as answer:
            found = await answer.json()
        async with client.post(f"{simulator.url}/cancel_job", json=which) as answer:
            cancelled = answer.status
    assert [status] * 3 == [
        told["status"],
        told["media_transfer_status"],
        *(job["status"] for job in found["jobs"]),
    ]
    assert (None, 30 if status == "queued" else None) == (
        told["details"],
        told["poll_again_after_seconds"],
    )
    assert (200 if status == "queued" else 400) == cancelled


def test_the_same_jobs_finish_again_with_the_same_seed() -> None:
    """A run that showed a mistake can be had again."""

    def finished(seed: int, share: float = 0.3) -> list[int]:
        return [
            number
            for number in range(1_000)
            if is_finished(str(number), 0, share=share, after_seconds=None, seed=seed)
        ]

    assert finished(1) == finished(1) != finished(2)
    assert 250 < len(finished(1)) < 350
    assert ([], 1_000) == (finished(1, share=0), len(finished(1, share=1)))


@pytest.mark.parametrize("kind", ["shuffle", "newest", "newest--1", "hide-x", "STATUS", "601", ""])
def test_a_kind_that_is_none_is_named(kind: str) -> None:
    """An unknown kind of list is an error that names it."""
    with pytest.raises(ValueError, match=f"^'{kind}' is no kind of list; .*two-arrays") as told:
        Options(listing=[kind])
    assert kind != "shuffle" or "did you mean 'shuffled'?" in str(told.value)


@pytest.mark.parametrize("kind", LIST_KINDS)
def test_every_kind_that_is_listed_can_be_ordered(kind: str) -> None:
    """Every kind in the help is accepted."""
    check_kind(kind.replace("STATUS", "503").replace("-N", "-7"))


def test_the_share_of_finished_jobs_is_one() -> None:
    """A share of finished jobs above 1 is an error."""
    with pytest.raises(ValueError, match="outside 0 to 1"):
        Options(finished_share=1.5)

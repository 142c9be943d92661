import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.processes.programs import (
    Programs,
    add_videos,
    bought_twice,
    execute,
    read_book,
    states,
    videos,
)
from tests.wire import free_port
from worker.simulator import Options, Simulator


async def test_all_that_is_due_is_submitted(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain submits each video once, reports it in stable fields and ends with 0."""
    add_videos(url, 3)
    done = await worker.run("drain", "--json")
    assert (0, []) == (done.code, done.sentences)
    expected = {
        "submitted": 3,
        "failed": 0,
        "in_doubt": 0,
        "postponed": 0,
        "due": 0,
        "waiting": 0,
        "end": "nothing is due",
    }
    assert expected == done.told
    rows = videos(url)
    assert ["submitted"] * 3 == [row["state"] for row in rows]
    assert [(row["url"], row["request_id"], row["job_id"]) for row in rows] == [
        (job.url, job.request_id, job.job_id) for job in simulator.accepted
    ]


async def test_nothing_due_is_no_trouble(worker: Programs, simulator: Simulator, url: str) -> None:
    """A drain with nothing to do prints nothing on stderr and ends with 0."""
    done = await worker.run("drain")
    assert (0, []) == (done.code, done.sentences)
    numbers = dict(line.rsplit(maxsplit=1) for line in done.out.splitlines())
    names = ["submitted", "failed", "in doubt", "postponed", "due", "waiting"]
    assert dict.fromkeys(names, "0") == numbers
    assert [] == simulator.requests
    assert {} == states(url)


async def test_a_failure_and_a_doubt_need_a_person(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain that leaves a failed video or a doubt ends with 1 and names ``why``."""
    simulator.options = Options(script={1: "400", 2: "lost"})
    add_videos(url, 3)
    done = await worker.run("drain", "--json")
    assert 1 == done.code
    assert ["failed", "in_doubt", "submitted"] == [row["state"] for row in videos(url)]
    assert (1, 1, 1, 0) == tuple(
        done.told[name] for name in ("submitted", "failed", "in_doubt", "waiting")
    )
    assert any("see valossa-ingest why" in line for line in done.sentences)


async def test_a_doubt_for_a_person_is_told_by_each_drain(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """Each drain beside a doubt that only a person can settle ends with 1, also an idle one, and
    earlier failures do not count.
    """
    simulator.options = Options(script={1: "lost", 2: "400"})
    add_videos(url, 2)
    codes = [(await worker.run("drain")).code for _ in range(3)]
    assert [1, 1, 1] == codes
    execute(url, "DELETE FROM videos WHERE state = 'in_doubt'")
    assert 0 == (await worker.run("drain")).code


@pytest.mark.parametrize(
    ("listing", "settle", "code", "told"),
    [
        ((), 300, 75, "1 in doubt that time may settle: run it again later"),
        ((), 0, 1, "1 in doubt that only a person can settle"),
        (("404",), 300, 1, "1 in doubt that only a person can settle"),
        (("503",), 300, 75, "1 in doubt that time may settle: run it again later"),
    ],
)
async def test_a_doubt_is_told_by_what_may_settle_it(
    worker: Programs,
    simulator: Simulator,
    url: str,
    listing: tuple[str, ...],
    settle: int,
    code: int,
    told: str,
) -> None:
    """Each drain beside a doubt ends with 75 while the API's list may settle it, then with 1."""
    simulator.options = Options(script={1: "502"}, listing=listing)
    add_videos(url, 1)
    for _ in range(2):
        done = await worker.run("drain", on_doubt="reconcile", doubt_settle_seconds=settle)
        assert (code, True) == (done.code, f"valossa-ingest: {told}" in done.sentences)


async def test_a_backoff_is_work_for_later(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A drain that leaves only waiting rows ends with 75."""
    simulator.options = Options(failures={"500": 1.0})
    add_videos(url, 1)
    done = await worker.run("drain", "--json")
    assert 75 == done.code
    assert {"pending": 1} == states(url)
    assert (1, 1) == (done.told["postponed"], done.told["waiting"])


async def test_an_api_that_cannot_be_reached_is_work_for_later(worker: Programs, url: str) -> None:
    """An API that cannot be reached charges no video, and the drain ends with 75."""
    add_videos(url, 1)
    with free_port() as port:
        for nobody in ("https://api.invalid/core/1.0", f"http://127.0.0.1:{port}/core/1.0"):
            execute(url, "UPDATE videos SET due_at = CURRENT_TIMESTAMP")
            done = await worker.run("drain", "--json", api_url=nobody)
            assert (75, 1) == (done.code, done.told["waiting"])
            [line] = done.events("attempt_ended")
            assert "not_sent" == line["outcome"]
            assert [("pending", 0)] == [(r["state"], r["attempts"]) for r in videos(url)]


async def test_a_refused_key_costs_two_requests_and_no_video(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A wrong key is confirmed by one other video, charges nothing and ends with 77."""
    add_videos(url, 5)
    done = await worker.run("drain", "--json", variables={"VALOSSA_API_KEY": "wrong"})
    assert 77 == done.code
    assert 2 == len(simulator.requests)
    assert 2 == len({request.url for request in simulator.requests})
    assert [] == simulator.accepted
    assert [("pending", 0)] * 5 == [(row["state"], row["attempts"]) for row in videos(url)]
    assert any("VALOSSA_API_KEY" in sentence for sentence in done.sentences)


async def test_a_wrong_address_is_configuration(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """An address at which something else answers charges nothing and ends with 78."""
    add_videos(url, 5)
    done = await worker.run("drain", "--json", api_url=f"{simulator.url}/elsewhere")
    assert 78 == done.code
    assert ["wrong_address"] * 2 == [e["outcome"] for e in done.events("attempt_ended")]
    assert [("pending", 0)] * 5 == [(row["state"], row["attempts"]) for row in videos(url)]
    assert any("correct api_url" in sentence for sentence in done.sentences)


async def test_a_missing_database_is_named_and_not_made(worker: Programs, tmp_path: Path) -> None:
    """A drain without a database ends with 78."""
    done = await worker.run("drain", database_url="absent.db")
    assert (78, "") == (done.code, done.out)
    [sentence] = done.sentences
    assert f"no database at {tmp_path / 'absent.db'}: run valossa-ingest migrate" in sentence
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WORKER_API_URL", "http://api.example.com/core/1.0", "would send the key in the clear"),
        ("VALOSSA_API_KEY", None, "no API key: set VALOSSA_API_KEY"),
        ("WORKER_RATES", "5", "WORKER_RATES is no setting: did you mean WORKER_RATE?"),
    ],
)
async def test_a_wrong_configuration_starts_nothing(
    worker: Programs, simulator: Simulator, url: str, name: str, value: str | None, told: str
) -> None:
    """A wrong setting is reported in one sentence before any video is claimed."""
    add_videos(url, 1)
    done = await worker.run("drain", variables={name: value})
    assert (78, "") == (done.code, done.out)
    [sentence] = done.sentences
    assert told in sentence
    assert [] == simulator.requests
    assert [("pending", 0)] == [(row["state"], row["claims"]) for row in videos(url)]


async def test_a_limit_of_requests_is_kept(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """The flag --limit sends that many requests and no more, and the drain ends with 0."""
    add_videos(url, 5)
    done = await worker.run("drain", "--json", "--limit", "2")
    assert (0, []) == (done.code, done.sentences)
    assert (2, 3) == (done.told["submitted"], done.told["due"])
    assert 2 == len(simulator.requests)


async def test_a_limit_of_time_is_kept(worker: Programs, simulator: Simulator, url: str) -> None:
    """The flag --max-seconds ends a drain between two starts of a slow pace, with 75."""
    add_videos(url, 5)
    done = await worker.run("drain", "--json", "--max-seconds", "3", rate=1, period_seconds=600)
    assert 75 == done.code
    assert (1, 4) == (done.told["submitted"], done.told["due"])
    assert 1 == len(simulator.requests)


async def test_the_simulator_is_a_program_too(worker: Programs, url: str, tmp_path: Path) -> None:
    """`simulate` serves at the address that it prints, and its book holds what was accepted."""
    book = tmp_path / "book.jsonl"
    imitation = await worker.start("simulate", "--port", "0", "--book", str(book))
    printed = await imitation.printed("use it with: ")
    at = printed.split("imitating the API at ")[1].split()[0]
    add_videos(url, 5)
    done = await worker.run("drain", api_url=at)
    assert 0 == done.code
    imitation.signal(signal.SIGTERM)
    ended = await imitation.ended()
    assert 0 == ended.code
    assert "accepted 5 jobs in 5 requests" in ended.out
    jobs = read_book(book)
    assert [] == bought_twice(jobs)
    assert {row["job_id"] for row in videos(url)} == {job.job_id for job in jobs}


async def test_a_reached_cap_is_work_for_later(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A cap ends a drain with 75; the setting, its value and the time when it opens are named."""
    add_videos(url, 5)
    done = await worker.run("drain", "--json", max_per_day=2)
    assert (75, "a cap is reached", 2, 3) == (
        done.code,
        done.told["end"],
        done.told["submitted"],
        done.told["due"],
    )
    [first] = execute(url, "SELECT min(at) AS at FROM history")
    opens = datetime.fromisoformat(str(first["at"])[:19]) + timedelta(days=1)
    told = f"max_per_day = 2 is reached until {opens} UTC: wait, or raise it"
    assert [f"valossa-ingest: {told}"] == done.sentences
    done = await worker.run("drain", max_per_day=2, max_total=4)
    assert (75, 2) == (done.code, len(simulator.accepted))
    done = await worker.run("drain", max_total=4)
    told = "max_total = 4 is reached: raise or unset it to go on"
    assert (75, 4) == (done.code, len(simulator.accepted))
    assert [f"valossa-ingest: {told}"] == done.sentences


async def test_a_cap_that_keeps_nothing_back_is_no_trouble(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A full cap is not reported if every video is submitted."""
    add_videos(url, 2)
    done = await worker.run("drain", "--json", max_total=2)
    assert (0, [], "nothing is due") == (done.code, done.sentences, done.told["end"])
    assert 2 == len(simulator.accepted)

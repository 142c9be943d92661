import json
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli, Said, refusing
from tests.processes.programs import moment
from worker.simulator import Options, Simulator

KEY = "sk-0123456789abcdef"
KEYS = ["what", "video", "state", "job_id", "its_own_job", "job_is", "sure"]
HEAD = ["what", "video", "state", "job_id", "its own job", "job is", "sure"]

Start = Callable[[Options], Beside]


def options(*listing: str) -> Options:
    """Return options of a simulator that takes the key, with these kinds of list."""
    return Options(keys=frozenset({KEY}), listing=listing)


def say(cli: Cli, url: str, command: str, *words: str) -> Said:
    """Run a command with the API at ``url`` and assert that it prints no key (law 11)."""
    variables = {"WORKER_API_URL": url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "1000"}
    said = cli(command, *words, WORKER_LOG_LEVEL="error", **variables)
    assert KEY not in said.out + said.err
    return said


def buy(cli: Cli, simulator: Simulator, count: int = 1) -> list[str]:
    """Submit that many more videos; return all jobs so far."""
    for _ in range(count):
        cli.insert()
    assert 0 == say(cli, simulator.url, "drain").code
    return [job.job_id for job in simulator.accepted]


FORGET = "UPDATE videos SET state = 'pending', job_id = NULL, submitted_at = NULL WHERE id = ?"


def bought(cli: Cli, simulator: Simulator) -> str:
    """Give video 1 a job that its row forgets, as after a restored backup; return the job."""
    (job,) = buy(cli, simulator)
    cli.sql(FORGET, 1)
    return job


def twice(cli: Cli, simulator: Simulator) -> tuple[str, str]:
    """Buy video 1 once more after that; return the forgotten job and its own."""
    bought(cli, simulator)
    first, second = buy(cli, simulator, 0)
    return first, second


def everything(cli: Cli) -> list[object]:
    """Return every row of videos and history."""
    return [cli.sql(f"SELECT * FROM {table}") for table in ("videos", "history")]


def status(simulator: Simulator, job_id: str) -> str:
    """Return the API's status of a job."""
    address = f"{simulator.url}/job_status?api_key={KEY}&job_id={job_id}"
    with urllib.request.urlopen(address) as answer:
        told = json.load(answer)["status"]
    assert isinstance(told, str)
    return told


def test_what_fits_is_clean(cli: Cli, beside: Start) -> None:
    """Exit 0 and one line where each video has its job, and nothing to do about it."""
    with beside(options()) as simulator:
        buy(cli, simulator, 2)
        cli.insert()
        said = say(cli, simulator.url, "audit")
        told = "2 jobs in the API's list: 2 of videos here; gone: 0\n"
        assert (0, told, "") == (said.code, said.out, said.err)
        for words in (("--adopt", "--yes"), ("--cancel-duplicates", "--yes")):
            said = say(cli, simulator.url, "audit", *words)
            assert (0, told, "") == (said.code, said.out, said.err)


def test_a_pending_video_with_a_job_is_told(cli: Cli, beside: Start) -> None:
    """A pending video with a job is exit 1, and the command alone changes nothing."""
    with beside(options()) as simulator:
        job = bought(cli, simulator)
        before = everything(cli)
        said = say(cli, simulator.url, "audit")
    assert (1, "", before) == (said.code, said.err, everything(cli))
    head, row, summary, advice = said.rows()
    assert [HEAD, ["bought", "1", "pending", job, "", "queued", "yes"]] == [head, row]
    assert ["1 jobs in the API's list: 1 bought; gone: 0"] == summary
    assert "bought: pending, but the API has a job of it; audit --adopt takes it over" in advice


def test_a_job_is_adopted_where_it_is_agreed_to(cli: Cli, beside: Start) -> None:
    """The video keeps the job that was paid for, and is not sent again."""
    with beside(options()) as simulator:
        job = bought(cli, simulator)
        said = say(cli, simulator.url, "audit", "--adopt", "--yes")
        assert (0, "", "adopted 1") == (said.code, said.err, said.out.splitlines()[-1])
        row = cli.row(1)
        assert ("submitted", job) == (row["state"], row["job_id"])
        ((who, message),) = cli.sql("SELECT who, message FROM history WHERE fact = 'found'")
        assert (True, "adopted from the API's list") == (who.startswith("person"), message)
        assert [job] == buy(cli, simulator, 0)
        assert 0 == say(cli, simulator.url, "audit").code


@pytest.mark.parametrize("flag", ["--adopt", "--cancel-duplicates"])
def test_without_a_yes_nothing_is_changed(cli: Cli, beside: Start, flag: str) -> None:
    """A cron job that nobody can answer neither adopts nor cancels."""
    with beside(options()) as simulator:
        jobs = twice(cli, simulator)
        cli.insert()
        buy(cli, simulator, 0)
        cli.sql(FORGET, 2)
        before = everything(cli)
        said = say(cli, simulator.url, "audit", flag)
        assert {"queued"} == {status(simulator, job) for job in jobs}
    told = "valossa-ingest: nothing was changed; --yes does it unasked\n"
    assert (1, told, before) == (said.code, said.err, everything(cli))


@pytest.mark.parametrize(
    ("flag", "kind"), [("--adopt", "bought"), ("--cancel-duplicates", "twice")]
)
def test_what_is_not_sure_is_not_changed(cli: Cli, beside: Start, flag: str, kind: str) -> None:
    """A choice between two jobs is left to a person, even with --yes."""
    with beside(options()) as simulator:
        twice(cli, simulator)
        cli.sql(FORGET, 1)
        jobs = buy(cli, simulator, 0) if kind == "twice" else []
        before = everything(cli)
        said = say(cli, simulator.url, "audit", flag, "--yes")
        assert {"queued"} >= {status(simulator, job) for job in jobs}
    told = "valossa-ingest: nothing is sure enough to change; see the table above\n"
    assert (1, told, before) == (said.code, said.err, everything(cli))
    assert [(kind, "perhaps")] * 2 == [(row[0], row[-1]) for row in said.rows()[1:3]]


def test_a_second_job_is_cancelled_where_it_is_agreed_to(cli: Cli, beside: Start) -> None:
    """A second job is cancelled, the video keeps its own job, and its history says so."""
    with beside(options()) as simulator:
        first, own = twice(cli, simulator)
        said = say(cli, simulator.url, "audit")
        assert ["twice", "1", "submitted", first, own, "queued", "yes"] == said.rows()[1]
        assert "audit --cancel-duplicates cancels what still waits" in said.out
        before = cli.row(1)
        said = say(cli, simulator.url, "audit", "--cancel-duplicates", "--yes")
        assert (0, "", "cancelled 1") == (said.code, said.err, said.out.splitlines()[-1])
        assert ("error", "queued") == (status(simulator, first), status(simulator, own))
    assert before == cli.row(1)
    ((video, message),) = cli.sql("SELECT video_id, message FROM history WHERE fact = 'cancel'")
    assert (1, f"its second job {first} was cancelled") == (video, message)


def test_a_second_job_that_is_finished_is_only_told(cli: Cli, beside: Start) -> None:
    """A finished analysis cannot be taken back, and the API is not asked to."""
    given = Options(keys=frozenset({KEY}), finished_share=1)
    with beside(given) as simulator:
        twice(cli, simulator)
        said = say(cli, simulator.url, "audit", "--cancel-duplicates", "--yes")
    assert (1, True) == (said.code, "nothing is sure enough to change" in said.err)
    assert "finished" in said.rows()[1]
    assert [] == cli.sql("SELECT * FROM history WHERE fact = 'cancel'")


def moved_on(listed: Mapping[str, object]) -> AbstractContextManager[str]:
    """Serve an API whose list is as given and which cancels nothing; yield its address."""
    return refusing(400, "Job is not waiting in the queue", listed)


def test_a_cancellation_that_is_refused_is_told(cli: Cli) -> None:
    """A job that began a moment before is not called cancelled, neither here nor in the story."""
    cli.insert(state="submitted", claims=1, job_id="own", request_id="0" * 32)
    named = {"customer_media_info": {"id": "0" * 32}, "status": "queued"}
    jobs = [{"job_id": "own", **named}, {"job_id": "second", **named}]
    with moved_on({"jobs": jobs}) as url:
        said = say(cli, url, "audit", "--cancel-duplicates", "--yes")
    why = "HTTP 400: Job is not waiting in the queue"
    told = f"valossa-ingest: job second was not cancelled: {why}\n"
    assert (1, told, "cancelled 0") == (said.code, said.err, said.out.splitlines()[-1])
    assert [] == cli.sql("SELECT * FROM history")


def test_a_job_of_another_video_is_unknown(cli: Cli, beside: Start) -> None:
    """A doubt or a failure that has a job is told, with what settles it."""
    with beside(options()) as simulator:
        (job,) = buy(cli, simulator)
        cli.sql("UPDATE videos SET state = 'failed', job_id = NULL")
        said = say(cli, simulator.url, "audit", "--adopt", "--yes")
    assert ["unknown", "1", "failed", job, "", "queued", "yes"] == said.rows()[1]
    assert "unknown: a job that the video does not know; valossa-ingest reconcile" in said.out
    assert (1, "failed") == (said.code, cli.row(1)["state"])


def test_a_job_that_is_gone_is_told(cli: Cli, beside: Start) -> None:
    """A job that the list no longer shows is reported as gone."""
    with beside(options("hide-1")) as simulator:
        first, _ = buy(cli, simulator, 2)
        (hidden,) = cli.sql("SELECT id FROM videos WHERE job_id = ?", first)
        assert 0 == say(cli, simulator.url, "audit").code  # it may only be late
        cli.sql("UPDATE videos SET submitted_at = ?", moment(-3600))
        said = say(cli, simulator.url, "audit")
    assert (1, "") == (said.code, said.err)
    assert ["gone", str(hidden), "submitted", "", first, "", "yes"] == said.rows()[1]
    assert "1 jobs in the API's list: 1 of videos here; gone: 1" in said.out
    assert "gone: submitted, but its job is in the list no more" in said.out


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_part_of_a_list_says_so(cli: Cli, beside: Start, words: tuple[str, ...]) -> None:
    """A cut-off list does not look as if jobs were deleted."""
    with beside(options("newest-1", "total")) as simulator:
        buy(cli, simulator, 2)
        said = say(cli, simulator.url, "audit", *words)
    assert (0, "") == (said.code, said.err)
    if words:
        assert ("it says total 2", []) == (said.json()["paged"], said.json()["found"])
    else:
        assert said.out.endswith("1 of videos here; gone: not known, it says total 2\n")


def test_jobs_of_others_are_counted(cli: Cli, beside: Start) -> None:
    """Another queue with the same key is no fault, but no surprise either."""
    with beside(options("strangers-3")) as simulator:
        buy(cli, simulator)
        said = say(cli, simulator.url, "audit")
    assert (0, "") == (said.code, said.err)
    assert "3 of no video here: another queue with this key, or lists that" in said.out
    assert "4 jobs in the API's list: 1 of videos here; gone: 0" == said.out.splitlines()[0]


def test_jobs_of_others_are_named(cli: Cli) -> None:
    """The first few jobs of no video here are named, without query and without a command."""
    strangers = [
        {
            "job_id": f"job-{number}",
            "status": "queued\x1b[2J",
            "customer_media_info": {"id": f"talk\u202e-{number}"},
            "video": {"url": f"https://b.example/{number}.mp4?Signature=s1gnature"},
        }
        for number in range(7)
    ]
    with moved_on({"jobs": strangers}) as url:
        said = say(cli, url, "audit")
        found = say(cli, url, "audit", "--json").json()["strangers"]
    first = "  job-0 queued\\x1b[2J talk\\u202e-0 https://b.example/0.mp4?…"
    assert "7 jobs in the API's list: none of a video here; gone: 0" == said.out.splitlines()[0]
    assert [first, "  and 2 more: --json names them all"] == said.out.splitlines()[2::5]
    assert (7, "https://b.example/6.mp4?…") == (len(found), found[6].split()[-1])
    assert "s1gnature" not in said.out


def test_law_17_links_signed_anew_and_files_uploaded_since_are_not_bought_again(
    cli: Cli, tmp_path: Path
) -> None:
    """Law 17: after a restored backup the same links come with other signatures, and the uploads of
    the files are not known.
    """
    signed = "https://b.s3.amazonaws.com/{}.mp4?X-Amz-Date={}&X-Amz-Signature={}"
    urls = [signed.format(1, 1, 1), signed.format(2, 1, 1), "valossaupload://u-1"]
    urls.append("valossaupload://u-2")
    ids = ["m-1", None, "m-3", None]
    jobs = [
        {"job_id": f"job-{n}", "status": "finished", "video": {"url": url}}
        | ({"customer_media_info": {"id": name}} if name else {})
        for n, (url, name) in enumerate(zip(urls, ids, strict=True), 1)
    ]
    listed = [
        {"url": signed.format(1, 2, 2), "media_id": "m-1"},
        {"url": signed.format(2, 2, 2)},
        {"url": "file:///media/3.mp4", "media_id": "m-3"},
        {"url": "FILE:///media/4.mp4"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    assert 0 == cli("import", tmp_path / "list.jsonl").code
    cli.sql("UPDATE videos SET url = 'FILE:///media/4.mp4' WHERE id = 4")
    with moved_on({"jobs": jobs}) as url:
        said = say(cli, url, "audit", "--adopt", "--yes")
        jobs_of = cli.sql("SELECT job_id FROM videos ORDER BY id")
        again = say(cli, url, "audit", "--json")
    assert (1, ["job-1", "job-2", None, None]) == (said.code, jobs_of)
    assert "adopted 2" in said.out
    assert "unsure: where it is only perhaps its job" in said.out
    assert "perhaps of those that wait here" in said.out
    assert ["perhaps"] == [each["sure"] for each in again.json()["found"]]
    assert 1 == again.json()["perhaps_of_files_here"]


def test_law_17_two_jobs_of_one_address_are_told(cli: Cli, beside: Start) -> None:
    """Law 17: an audit says how many jobs videos have beyond the first of their address."""
    with beside(options()) as simulator:
        buy(cli, simulator)
        buy(cli, simulator)
        cli.sql("UPDATE videos SET url = (SELECT url FROM videos WHERE id = 1)")
        said = say(cli, simulator.url, "audit")
    assert "1 possibly bought twice: another video of the address has a job" in said.out


def test_the_findings_are_json_where_it_is_asked_for(cli: Cli, beside: Start) -> None:
    """A program reads the same facts, and stdout is one document whatever else was done."""
    with beside(options("strangers-3")) as simulator:
        job = bought(cli, simulator)
        unnamed = {"strangers": "named by another test"}
        expected = {
            "jobs": 4,
            "paged": None,
            "of_no_video_here": 3,
            "possibly_bought_twice": 0,
            "in_error": 0,
            "perhaps_of_files_here": 0,
            **unnamed,
            "found": [
                dict(zip(KEYS, ["bought", 1, "pending", job, None, "queued", "yes"], strict=True))
            ],
        }
        said = say(cli, simulator.url, "audit", "--json")
        assert (1, "", expected) == (said.code, said.err, {**said.json(), **unnamed})
        said = say(cli, simulator.url, "audit", "--json", "--adopt", "--yes")
        assert (0, "adopted 1\n", expected) == (said.code, said.err, {**said.json(), **unnamed})
        said = say(cli, simulator.url, "audit", "--json")
        assert (0, []) == (said.code, said.json()["found"])


@pytest.mark.parametrize("given", [options("503"), Options(keys=frozenset({"another"}))])
def test_no_list_is_a_sentence(cli: Cli, beside: Start, given: Options) -> None:
    """Exit 1, why there is none, where to look; and the key is not repeated (law 11)."""
    with beside(given) as simulator:
        said = say(cli, simulator.url, "audit")
    first, second = said.err.splitlines()
    number = "503" if given.listing else "401"
    assert (1, "") == (said.code, said.out)
    expected = f"valossa-ingest: the API does not list this key's jobs: HTTP {number}"
    assert first.startswith(expected)
    assert "valossa-ingest: valossa-ingest check --online says whether key" in second

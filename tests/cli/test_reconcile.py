from collections.abc import Callable

import pytest

from tests.cli.conftest import Beside, Cli, Said
from tests.processes.programs import moment
from worker.simulator import Options, Simulator

KEY = "sk-0123456789abcdef"
HEAD = ["id", "verdict", "job_id", "reason"]

Start = Callable[[Options], Beside]


def options(*listing: str) -> Options:
    """Return options of a simulator that takes the key, with these kinds of list."""
    return Options(keys=frozenset({KEY}), listing=listing)


def say(cli: Cli, simulator: Simulator, command: str, *words: str) -> Said:
    """Run a command on that simulator and assert that it prints no key (law 11)."""
    variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "1000"}
    said = cli(command, *words, WORKER_ON_DOUBT="hold", WORKER_LOG_LEVEL="error", **variables)
    assert KEY not in said.out + said.err
    return said


def buy(cli: Cli, simulator: Simulator) -> str:
    """Submit one more video; return its job. A drain beside a doubt ends with 1."""
    doubts = cli.sql("SELECT id FROM videos WHERE state = 'in_doubt'")
    cli.insert()
    assert bool(doubts) == say(cli, simulator, "drain").code
    return simulator.accepted[-1].job_id


def put_back(cli: Cli, video_id: int, begun: int, written: int) -> None:
    """Move the history of a video back by that many seconds."""
    cli.sql(
        "UPDATE history SET started_at = ?, at = ? WHERE video_id = ?",
        moment(-begun),
        moment(-written),
        video_id,
    )


def lose(cli: Cli, video_id: int) -> None:
    """Put a video in doubt, as if its answer was lost half a minute ago."""
    cli.sql(
        "UPDATE videos SET state = 'in_doubt', job_id = NULL, submitted_at = NULL, claims = 1, "
        "attempts = 1, updated_at = ? WHERE id = ?",
        moment(-30),
        video_id,
    )
    cli.sql("DELETE FROM history WHERE video_id = ?", video_id)
    cli.sql(
        "INSERT INTO history (video_id, attempt, at, who, fact) VALUES (?, 1, ?, 'w', 'in_doubt')",
        video_id,
        moment(-30),
    )
    put_back(cli, video_id, 31, 30)


def doubt_that_never_arrived(cli: Cli, simulator: Simulator) -> None:
    """Put video 2 in doubt for an hour; its POST never arrived, those of its neighbours did."""
    buy(cli, simulator)
    cli.insert()
    lose(cli, 2)
    buy(cli, simulator)
    for video_id, begun, written in ((1, 3601, 3600), (2, 3500, 3400), (3, 3300, 3299)):
        put_back(cli, video_id, begun, written)


def everything(cli: Cli) -> list[object]:
    """Return every row of videos and history."""
    return [cli.sql(f"SELECT * FROM {table}") for table in ("videos", "history")]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_nothing_in_doubt_asks_nobody(cli: Cli, beside: Start, words: tuple[str, ...]) -> None:
    """Without doubts the API is not asked."""
    cli.insert()
    with beside(options()) as simulator:
        said = say(cli, simulator, "reconcile", *words)
        told = "nothing is in doubt, so the API was not asked\n"
        assert (0, told, "") == (said.code, said.out, said.err)
        assert [] == cli.sql("SELECT list_asked_at FROM account WHERE list_asked_at IS NOT NULL")
        said = say(cli, simulator, "reconcile", "--json", *words)
        assert {"asked": False, "jobs": None, "findings": []} == said.json()
        assert 0 == said.code


def test_a_job_that_the_list_shows_is_found(cli: Cli, beside: Start) -> None:
    """A bought video whose answer was lost is submitted, and the doubt is gone."""
    with beside(options()) as simulator:
        job = buy(cli, simulator)
        lose(cli, 1)
        said = say(cli, simulator, "reconcile")
    assert (0, "") == (said.code, said.err)
    assert [HEAD, ["1", "found", job, ""], [""], ["1 of 1 settled"]] == said.rows()
    row = cli.row(1)
    assert ("submitted", job) == (row["state"], row["job_id"])
    (who,) = cli.sql("SELECT who FROM history WHERE fact = 'found'")
    assert who.startswith("person")


def test_what_a_dead_worker_had_in_flight_is_reconciled(cli: Cli, beside: Start) -> None:
    """A lease that ran out is a doubt, settled at once; a dry run says so (law 4)."""
    with beside(options()) as simulator:
        job = buy(cli, simulator)
        cli.sql("DELETE FROM history")
        cli.sql(
            "UPDATE videos SET state = 'submitting', attempts = 0, job_id = NULL, "
            "submitted_at = NULL, "
            "claim_token = 't', claimed_by = 'w', lease_until = ?, updated_at = ?",
            moment(-1),
            moment(-30),
        )
        before = everything(cli)
        said = say(cli, simulator, "reconcile", "--dry-run")
        assert (1, before) == (said.code, everything(cli))
        assert (
            "in flight, with a lease that has run out: 1; without --dry-run they come" in said.err
        )
        said = say(cli, simulator, "reconcile")
    assert (0, ["1", "found", job, ""]) == (said.code, said.rows()[1])
    assert ("submitted", job) == (cli.row(1)["state"], cli.row(1)["job_id"])
    assert ["in_doubt", "found"] == cli.sql("SELECT fact FROM history ORDER BY id")


def test_a_job_that_is_proven_absent_is_sent_again(cli: Cli, beside: Start) -> None:
    """A video whose POST never arrived is due again."""
    with beside(options()) as simulator:
        doubt_that_never_arrived(cli, simulator)
        said = say(cli, simulator, "reconcile")
    assert (0, "") == (said.code, said.err)
    assert ["2", "absent", "", "the API has no job of it"] == said.rows()[1]
    assert "1 of 1 settled" == said.out.splitlines()[-1]
    assert ("pending", None) == (cli.row(2)["state"], cli.row(2)["job_id"])


@pytest.mark.parametrize("kind", ["found", "absent"])
def test_a_dry_run_only_says_it(cli: Cli, beside: Start, kind: str) -> None:
    """A dry run changes nothing."""
    with beside(options()) as simulator:
        if kind == "found":
            buy(cli, simulator)
            lose(cli, 1)
        else:
            doubt_that_never_arrived(cli, simulator)
        before = everything(cli)
        said = say(cli, simulator, "reconcile", "--dry-run")
    assert (0, kind) == (said.code, said.rows()[1][1])
    assert "1 of 1 could be settled" == said.out.splitlines()[-1]
    assert before == everything(cli)


def test_what_stays_in_doubt_is_said_with_its_reason(cli: Cli, beside: Start) -> None:
    """Exit 1 while the list proves nothing yet, and the table says why."""
    with beside(options()) as simulator:
        buy(cli, simulator)
        put_back(cli, 1, 41, 40)
        cli.insert()
        lose(cli, 2)
        said = say(cli, simulator, "reconcile")
    assert (1, "") == (said.code, said.err)
    (_, (number, verdict, job, reason), *_) = said.rows()
    assert ("2", "in doubt", "") == (number, verdict, job)
    assert reason.startswith("not in the API's list yet; it counts as absent from ")
    assert reason.endswith(" UTC on, once a video begun later is accepted")
    assert "0 of 1 settled" == said.out.splitlines()[-1]
    assert "in_doubt" == cli.row(2)["state"]
    assert reason in cli.row(2)["error"]


def test_the_findings_are_json_where_it_is_asked_for(cli: Cli, beside: Start) -> None:
    """A program reads the same verdicts, and how long the list was."""
    with beside(options()) as simulator:
        job = buy(cli, simulator)
        cli.insert()
        lose(cli, 1)
        lose(cli, 2)
        said = say(cli, simulator, "reconcile", "--json")
    told = said.json()
    assert (1, "", True, 1) == (said.code, said.err, told["asked"], told["jobs"])
    assert {"id": 1, "verdict": "found", "job_id": job, "reason": None} in told["findings"]
    (other,) = [each for each in told["findings"] if each["id"] == 2]
    assert ("in doubt", None) == (other["verdict"], other["job_id"])


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--json",)])
def test_no_list_is_a_sentence(cli: Cli, beside: Start, words: tuple[str, ...]) -> None:
    """Without a list the command is exit 1 and says where to look."""
    cli.insert()
    lose(cli, 1)
    with beside(options("503")) as simulator:
        said = say(cli, simulator, "reconcile", *words)
    first, second = said.err.splitlines()
    assert 1 == said.code
    assert first.startswith("valossa-ingest: the API does not list this key's jobs: HTTP 503")
    assert "valossa-ingest: valossa-ingest check --online says whether key" in second
    assert "in_doubt" == cli.row(1)["state"]
    if "--json" in words:
        told = said.json()
        assert (True, None, 1) == (told["asked"], told["jobs"], len(told["findings"]))


def test_a_refused_key_is_not_shown(cli: Cli, beside: Start) -> None:
    """A wrong key is reported and not repeated (law 11)."""
    cli.insert()
    lose(cli, 1)
    with beside(Options(keys=frozenset({"another"}))) as simulator:
        said = say(cli, simulator, "reconcile")
    assert 1 == said.code
    assert "the API does not list this key's jobs: HTTP 401" in said.err


@pytest.mark.usefixtures("path")
def test_law_14_a_verdict_that_a_trigger_refuses_stops_no_other(cli: Cli, beside: Start) -> None:
    """Law 14: a doubt whose row refuses its verdict stays and is named; the others are settled."""
    with beside(options()) as simulator:
        for _ in range(3):
            buy(cli, simulator)
        for video_id in (1, 2, 3):
            lose(cli, video_id)
        cli.sql(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos WHEN NEW.id = 2 "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        said = say(cli, simulator, "reconcile")
    assert 1 == said.code
    assert ["submitted", "in_doubt", "submitted"] == cli.sql("SELECT state FROM videos ORDER BY id")
    assert "the database refuses to write this row: not this one" in said.err

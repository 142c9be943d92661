"""``prune``, seen by a person: asked first, in numbers, and what is still known after."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli, Screen
from tests.plain import execute
from worker.simulator import Options

Start = Callable[[Options], Beside]
OLD = "2020-01-01 00:00:00"
FAST = {"WORKER_RATE": "1000"}
URL = "https://videos.example/1.mp4"


def old(cli: Cli, **columns: object) -> int:
    """Insert a video that was handed in years ago."""
    values = {"url": URL, "state": "submitted", "job_id": "job-1", "media_id": "m"}
    moments = {"updated_at": OLD, "submitted_at": OLD}
    number = cli.insert(**{**values, **moments, **columns})
    cli.sql("UPDATE jobs SET ended_as = 'finished', ended_at = ?", OLD)
    cli.sql(
        "INSERT INTO history (video_id, attempt, at, who, fact, job_id) "
        "VALUES (?, 1, ?, 'w', 'accepted', 'job-1')",
        number,
        OLD,
    )
    return number


def test_a_prune_asks_first(cli: Cli) -> None:
    """Without a terminal nothing is pruned unless --yes says so; the numbers are told."""
    old(cli)
    cli.insert()
    said = cli("prune", "--older-than", "90d")
    assert (1, True) == (said.code, "nothing was pruned; --yes" in said.err)
    assert "prune 1 videos" in said.err
    assert [1, 2] == cli.sql("SELECT id FROM videos ORDER BY id")
    assert 1 == cli("prune", "--older-than", "90d", "--yes", "--json").json()["pruned"]
    assert [2] == cli.sql("SELECT id FROM videos")
    again = cli("prune", "--older-than", "90d")
    assert (0, "0") == (again.code, again.pairs()["pruned"])


@pytest.mark.usefixtures("path")
def test_what_cannot_be_pruned_is_a_problem(cli: Cli) -> None:
    """Law 14: a video that another program keeps is named, the others are pruned: exit 1."""
    old(cli)
    old(cli, url="https://videos.example/2.mp4", state="failed", job_id=None, submitted_at=None)
    cli.sql("UPDATE history SET job_id = NULL, fact = 'refused' WHERE video_id = 2")
    cli.sql(
        "CREATE TRIGGER theirs BEFORE DELETE ON videos WHEN OLD.id = 1 "
        "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    )
    said = cli("prune", "--older-than", "90d", "--yes", "--json")
    assert (1, 1) == (said.code, said.json()["pruned"])
    assert [1] == cli.sql("SELECT id FROM videos")
    assert ("video_refused" in said.err, "not this one" in said.err) == (True, True)


def test_an_earlier_date_than_asked_for_has_its_reason(cli: Cli) -> None:
    """A prune names the reason for an earlier date than it was asked for, and no other."""
    cli.insert(state="cancelled")
    why = "UTC: this month's videos stay" if datetime.now(UTC).day > 1 else "UTC: the last 24 hours"
    for words in ((), ("--json",), ("--yes",)):
        said = cli("prune", "--older-than", "1m", *words)
        assert (0, 1) == (said.code, said.err.count("\n"))
        assert "nothing is pruned that has changed since 20" in said.err
        assert why in said.err
    assert "" == cli("prune", "--older-than", "90d").err


@pytest.mark.parametrize("moment", ["", "90", "90y", "-1d"])
def test_what_is_no_moment_is_refused(cli: Cli, moment: str) -> None:
    """A moment that cannot be read is refused with an example."""
    said = cli("prune", f"--older-than={moment}")
    assert (2, True) == (said.code, "how long ago, such as 90m, 2h, 3d" in said.err)


@pytest.mark.parametrize(("moment", "ids"), [("2020-01-02", [2]), ("2019-12-31", [1, 2])])
def test_a_moment_may_be_a_date(cli: Cli, moment: str, ids: list[int]) -> None:
    """Videos that were finished before a date are pruned."""
    old(cli)
    cli.insert()
    assert 0 == cli("prune", "--older-than", moment, "--yes").code
    assert ids == cli.sql("SELECT id FROM videos ORDER BY id")


def test_law_17_what_is_pruned_is_not_bought_again(cli: Cli, beside: Start, tmp_path: Path) -> None:
    """Law 17: neither import, add nor a row of another program buys a pruned address."""
    old(cli)
    assert 0 == cli("prune", "--older-than", "90d", "--yes").code
    listed = tmp_path / "talks.csv"
    listed.write_text(f"url\n{URL}\n")
    rejects = tmp_path / "rejects"
    assert 0 == cli("import", listed, "--rejects", rejects).code
    assert "video 1, which was pruned" in json.loads(rejects.read_text())["reason"]
    assert 1 == cli("add", URL).code
    cli.sql("INSERT INTO videos (url) VALUES (?)", URL)
    with beside(Options()) as simulator:
        variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": "demo-key", **FAST}
        assert 1 == cli("drain", **variables).code
        assert [] == simulator.accepted
    assert [True] == ["which has job job-1" in each for each in cli.sql("SELECT error FROM videos")]


def test_an_audit_knows_a_pruned_job(cli: Cli, beside: Start) -> None:
    """A job of a pruned video is no stranger, and is given to no other video of its address."""
    with beside(Options()) as simulator:
        variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": "demo-key", **FAST}
        cli.insert(url=URL)
        assert 0 == cli("drain", **variables).code
        cli.sql("UPDATE videos SET updated_at = ?, submitted_at = ?", OLD, OLD)
        cli.sql("UPDATE history SET at = ?", OLD)
        before = cli("audit", "--json", **variables).json()
        assert 0 == cli("prune", "--older-than", "90d", "--yes").code
        cli.sql("INSERT INTO videos (url) VALUES (?)", URL)
        after = cli("audit", "--json", **variables).json()
    assert (1, [], []) == (after["jobs"], after["strangers"], after["found"])
    assert before == after


def test_a_person_is_asked_on_a_terminal(path: Path, screen: Callable[..., Screen]) -> None:
    """On a terminal a prune goes ahead on a yes."""
    execute(
        str(path), f"INSERT INTO videos (url, state, updated_at) VALUES ('u', 'failed', '{OLD}')"
    )
    shown = screen("prune", "--older-than", "90d", "--database", path)
    shown.wait_for("for good? [y/N]")
    shown.type("y\n")
    assert 0 == shown.ended()
    assert [] == execute(str(path), "SELECT id FROM videos")

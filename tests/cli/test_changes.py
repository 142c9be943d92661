import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from worker.cli import run


def rows(path: Path, *states: str) -> None:
    """One video in each state, in this order."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO videos (url, state, job_id, claims, attempts, error) VALUES (?,?,?,1,1,?)",
            [
                (
                    f"https://a.example/{place}.mp4",
                    state,
                    f"job-{place}" if state == "submitted" else None,
                    f"HTTP 400: language {place}",
                )
                for place, state in enumerate(states)
            ],
        )


def states(path: Path) -> list[str]:
    """The states by id."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return [state for (state,) in connection.execute("SELECT state FROM videos ORDER BY id")]


def type_(path: Path, *words: str) -> int:
    """Type a command."""
    return run([*words, "--database", str(path)], {})


def test_retry_takes_up_what_failed_and_says_what_it_left(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person would not know that a doubt was left as it is."""
    rows(path, "failed", "in_doubt", "submitted", "cancelled")
    assert 0 == type_(path, "retry", "1", "2", "3", "4", "--json")
    assert {"retried": 2, "left": {"in_doubt": 1, "submitted": 1}} == json.loads(
        capsys.readouterr().out
    )
    assert ["pending", "in_doubt", "submitted", "pending"] == states(path)


def test_a_doubt_is_retried_only_by_its_own_flag(path: Path) -> None:
    """A doubt would be bought twice by a habit of typing."""
    rows(path, "in_doubt")
    assert 1 == type_(path, "retry", "--state", "in_doubt")
    assert ["in_doubt"] == states(path)
    assert 0 == type_(path, "retry", "1", "--may-buy-twice")
    assert ["pending"] == states(path)


def test_many_are_not_changed_without_a_yes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A filter that means more than was thought would change hundreds of rows."""
    rows(path, *["failed"] * 10)
    assert 1 == type_(path, "retry", "--state", "failed")
    assert "--yes" in capsys.readouterr().err
    assert ["failed"] * 10 == states(path)
    assert 0 == type_(path, "retry", "--state", "failed", "--yes")
    assert ["pending"] * 10 == states(path)


def test_a_change_without_a_filter_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bare cancel would empty the queue."""
    rows(path, "pending")
    assert 2 == type_(path, "cancel")
    assert "cancel what?" in capsys.readouterr().err
    assert ["pending"] == states(path)


def test_cancel_takes_out_and_retry_brings_back(path: Path) -> None:
    """A wrong list could not be taken out, or not be brought back."""
    rows(path, "pending", "failed", "submitted")
    assert 0 == type_(path, "cancel", "--error-like", "HTTP 400")
    assert ["cancelled", "cancelled", "submitted"] == states(path)
    assert 0 == type_(path, "retry", "--state", "cancelled")
    assert ["pending", "pending", "submitted"] == states(path)


def test_a_doubt_is_resolved_by_a_person(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person found in the portal could not be written down."""
    rows(path, "in_doubt", "in_doubt", "submitted")
    assert 0 == type_(path, "resolve", "1", "--job-id", "job-9")
    assert 0 == type_(path, "resolve", "2", "--give-up")
    assert ["submitted", "failed", "submitted"] == states(path)
    assert "1 is submitted\n2 is failed\n" == capsys.readouterr().out


def test_a_doubt_is_resolved_by_the_name_that_the_portal_shows(path: Path) -> None:
    """The Portal shows our identifier, and nobody would know the number of its row."""
    rows(path, "in_doubt")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE videos SET media_id = 'talks/a'")
    assert 0 == type_(path, "resolve", "talks/a", "--job-id", "job-9")
    assert ["submitted"] == states(path)


def test_a_name_of_two_videos_resolves_neither(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that is one's id and another's media id would settle the wrong one."""
    rows(path, "in_doubt", "in_doubt")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE videos SET media_id = '2' WHERE id = 1")
    assert 1 == type_(path, "resolve", "2", "--give-up")
    assert "'2' names video 1 and video 2: say which" in capsys.readouterr().err
    assert ["in_doubt", "in_doubt"] == states(path)


def test_a_change_says_which_names_mean_nobody(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in an id would look like a video that was left."""
    rows(path, "pending", "pending")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE videos SET media_id = 'talks/a' WHERE id = 1")
    assert 0 == type_(path, "cancel", "talks/a", "9", "nobody")
    assert ["cancelled", "pending"] == states(path)
    told = capsys.readouterr().err
    assert ["'9'", "'nobody'"] == [line.split()[4] for line in told.splitlines()]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("cancel", "--state", "failed"), "cancel 12 videos"),
        (
            ("retry", "--since", "1h", "--may-buy-twice"),
            "retry 13 videos, 1 of them in doubt, perhaps bought already",
        ),
    ],
)
def test_what_would_be_changed_is_told_with_its_cost(
    path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], meant: str
) -> None:
    """A person would say yes without knowing to how much, and at what cost."""
    rows(path, *["failed"] * 12, "in_doubt")
    assert 1 == type_(path, *words)
    why = f"valossa-ingest: nothing was changed; --yes does it unasked: {meant}\n"
    assert why == capsys.readouterr().err


def test_what_was_given_up_is_left_by_a_retry_and_counted(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retrying all that failed would buy a given up doubt again, or leave it without a word."""
    rows(path, "in_doubt", "failed")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO history (video_id, attempt, at, who, fact)"
            " VALUES (1, 1, '2026-01-01 00:00:00', 'w', 'in_doubt')"
        )
    type_(path, "resolve", "1", "--give-up")
    capsys.readouterr()
    assert 0 == type_(path, "retry", "--state", "failed")
    said = capsys.readouterr()
    assert "left, changed meanwhile, or given up in doubt  1" in said.out
    assert "only with --may-buy-twice" in said.err
    assert ["failed", "pending"] == states(path)


def test_a_doubt_that_a_retry_left_names_its_flag(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person would type the same command again and again."""
    rows(path, "in_doubt")
    assert 1 == type_(path, "retry", "1")
    assert "only with --may-buy-twice" in capsys.readouterr().err


def test_a_pause_keeps_its_reason_and_tells_what_it_stops(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second pause would wipe out why there was a first; resume says whether there was one."""
    rows(path, "pending", "pending")
    type_(path, "pause", "--reason", "wrong list")
    assert "paused: 0 in flight may end, 2 wait;" in capsys.readouterr().out
    type_(path, "pause")
    capsys.readouterr()
    type_(path, "status", "--json")
    assert "wrong list" == json.loads(capsys.readouterr().out)["pause_reason"]
    type_(path, "resume")
    assert "resumed; it was paused since 2" in capsys.readouterr().out
    type_(path, "resume")
    assert "it was not paused\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("1", "--job-id", "job-2"), "video 3 has job job-2 already"),
        (("3", "--give-up"), "video 3 is submitted, not in_doubt: nothing was changed"),
        (("9", "--give-up"), "no video has '9' as id, media id, request id or job id"),
    ],
)
def test_a_verdict_that_cannot_stand_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    """A slip of the pen would give one job to two videos, or forget a job."""
    rows(path, "in_doubt", "in_doubt", "submitted")
    before = states(path)
    assert 1 == type_(path, "resolve", *words)
    assert f"valossa-ingest: {problem}\n" == capsys.readouterr().err
    assert before == states(path)


def test_a_pause_is_seen_by_status_and_ends_with_resume(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody would know why nothing is sent."""
    assert 0 == type_(path, "pause", "--reason", "wrong list")
    capsys.readouterr()
    type_(path, "status", "--json")
    assert "wrong list" == json.loads(capsys.readouterr().out)["pause_reason"]
    assert 0 == type_(path, "resume")
    capsys.readouterr()
    type_(path, "status", "--json")
    assert None is json.loads(capsys.readouterr().out)["pause_reason"]


def test_a_paused_queue_is_left_alone_by_a_drain(path: Path) -> None:
    """An emergency stop would stop nobody."""
    rows(path, "pending")
    type_(path, "pause")
    environment = {"VALOSSA_API_KEY": "k", "WORKER_API_URL": "http://127.0.0.1:9/core/1.0"}
    assert 75 == run(["drain", "--database", str(path)], environment)
    assert ["pending"] == states(path)


def test_why_groups_by_reason_with_what_helps(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five hundred failures of one cause would be five hundred lines."""
    rows(path, "failed", "failed", "failed", "in_doubt", "submitted")
    assert 0 == type_(path, "why", "--json")
    groups = json.loads(capsys.readouterr().out)
    assert [(3, "failed", 1), (1, "in_doubt", 4)] == [
        (group["videos"], group["state"], group["example"]) for group in groups
    ]
    assert all(group["what helps"] for group in groups)
    assert 0 == type_(path, "why")
    assert 3 == len(capsys.readouterr().out.splitlines())


def test_why_leaves_what_a_person_gave_up_alone(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A settled doubt would be said to want a plain retry, which cannot take it up."""
    rows(path, "in_doubt")
    type_(path, "resolve", "1", "--give-up")
    capsys.readouterr()
    type_(path, "why", "--json")
    (group,) = json.loads(capsys.readouterr().out)
    assert "nothing; cancel ID puts it away" in group["what helps"]


def test_an_export_for_a_month_has_what_was_handed_in_then(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An accountant would get the jobs of another month, or lose one that changed later."""
    rows(path, "submitted", "submitted", "submitted")
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, day in enumerate(("2026-10-31", "2026-11-30", "2026-12-01"), start=1):
            at = f"{day} 00:00:00"
            connection.execute("UPDATE videos SET submitted_at = ? WHERE id = ?", (at, number))
    words = ("--since", "2026-11-01", "--until", "2026-12-01", "--columns", "job_id,submitted_at")
    assert 0 == type_(path, "export", "--state", "submitted", *words)
    assert "job_id,submitted_at\njob-1,2026-11-30 00:00:00\n" == capsys.readouterr().out


def test_an_unknown_column_of_an_export_is_named(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt column would be an empty file."""
    assert 2 == type_(path, "export", "--columns", "job_id,sumbitted_at")
    said = capsys.readouterr()
    assert ("", True) == (said.out, "no column 'sumbitted_at': choose from url" in said.err)


@pytest.mark.parametrize("form", [(), ("--json-lines",)])
def test_an_export_goes_in_again_and_buys_nothing_twice(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    """A queue that was exported and imported elsewhere would send again what was sent."""
    rows(path, "pending", "failed", "submitted", "in_doubt")
    assert 0 == type_(path, "export", *form)
    (tmp_path / "all.txt").write_text(capsys.readouterr().out, encoding="utf-8")
    other = tmp_path / "other.db"
    assert 1 == type_(other, "import", str(tmp_path / "all.txt"), "--json")
    told = capsys.readouterr()
    assert (4, 3, 1) == (
        (found := json.loads(told.out))["rows"],
        found["inserted"],
        sum(found["rejected"].values()),
    )
    assert "was not used" not in told.err
    assert ["pending", "pending", "submitted"] == states(other)

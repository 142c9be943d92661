import json
import re
from pathlib import Path

import pytest

from tests.plain import execute, insert_all
from tests.processes.programs import moment
from worker.cli import run


def rows(url: str, *states: str) -> None:
    """Insert one video in each of these states, in this order."""
    rows = [
        {
            "url": f"https://a.example/{place}.mp4",
            "state": state,
            "job_id": f"job-{place}" if state == "submitted" else None,
            "claims": 1,
            "attempts": 1,
            "error": f"HTTP 400: language {place}",
        }
        for place, state in enumerate(states)
    ]
    insert_all(url, "videos", rows)


def states(url: str) -> list[str]:
    """Return the states by id."""
    return [state for (state,) in execute(url, "SELECT state FROM videos ORDER BY id")]


def type_(url: str, *words: str) -> int:
    """Run a command on this database and return its exit code."""
    return run([*words, "--database", str(url)], {})


def test_retry_takes_up_what_failed_and_says_what_it_left(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry reports how many videos it left, by state."""
    rows(url, "failed", "in_doubt", "submitted", "cancelled")
    assert 0 == type_(url, "retry", "1", "2", "3", "4", "--json")
    assert {"retried": 2, "left": {"in_doubt": 1, "submitted": 1}} == json.loads(
        capsys.readouterr().out
    )
    assert ["pending", "in_doubt", "submitted", "pending"] == states(url)


def test_a_doubt_is_retried_only_by_its_own_flag(url: str) -> None:
    """A doubt is retried only with --may-buy-twice (law 5)."""
    rows(url, "in_doubt")
    assert 1 == type_(url, "retry", "--state", "in_doubt")
    assert ["in_doubt"] == states(url)
    assert 0 == type_(url, "retry", "1", "--may-buy-twice")
    assert ["pending"] == states(url)


def test_many_are_not_changed_without_a_yes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten videos and more are changed only with --yes."""
    rows(url, *["failed"] * 10)
    assert 1 == type_(url, "retry", "--state", "failed")
    assert "--yes" in capsys.readouterr().err
    assert ["failed"] * 10 == states(url)
    assert 0 == type_(url, "retry", "--state", "failed", "--yes")
    assert ["pending"] * 10 == states(url)


def test_a_change_without_a_filter_changes_nothing(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cancel without a filter changes nothing."""
    rows(url, "pending")
    assert 2 == type_(url, "cancel")
    assert "cancel what?" in capsys.readouterr().err
    assert ["pending"] == states(url)


def test_cancel_takes_out_and_retry_brings_back(url: str) -> None:
    """A cancelled video is out of the queue, and a retry brings it back."""
    rows(url, "pending", "failed", "submitted")
    assert 0 == type_(url, "cancel", "--error-like", "HTTP 400")
    assert ["cancelled", "cancelled", "submitted"] == states(url)
    assert 0 == type_(url, "retry", "--state", "cancelled")
    assert ["pending", "pending", "submitted"] == states(url)


def test_a_doubt_is_resolved_by_a_person(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``resolve`` writes down the job, or that the doubt is given up."""
    rows(url, "in_doubt", "in_doubt", "submitted")
    assert 0 == type_(url, "resolve", "1", "--job-id", "job-9")
    assert 0 == type_(url, "resolve", "2", "--give-up")
    assert ["submitted", "failed", "submitted"] == states(url)
    assert "1 is submitted\n2 is failed\n" == capsys.readouterr().out


def test_what_a_dead_worker_had_in_flight_is_resolved(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lease that ran out is a doubt, of this video alone; one in force is waited for (law 4)."""
    rows(url, "pending", "pending", "pending")
    claimed = "state = 'submitting', attempts = 0, claim_token = 't', claimed_by = 'w'"
    execute(url, f"UPDATE videos SET {claimed}, lease_until = ?", moment(-1))
    execute(url, "UPDATE videos SET lease_until = '2999-01-01 00:00:00' WHERE id = 2")
    assert 0 == type_(url, "resolve", "1", "--give-up")
    assert ["failed", "submitting", "submitting"] == states(url)
    told = execute(url, "SELECT fact FROM history WHERE video_id = 1 ORDER BY id")
    assert [("in_doubt",), ("resolve",)] == told
    capsys.readouterr()
    assert 1 == type_(url, "resolve", "2", "--give-up")
    said = capsys.readouterr().err
    assert "is submitting, in doubt from 2999-01-01 00:00:00 UTC on without an answer" in said


def test_a_doubt_is_resolved_by_the_name_that_the_portal_shows(url: str) -> None:
    """``resolve`` takes the identifier that the Portal shows."""
    rows(url, "in_doubt")
    execute(url, "UPDATE videos SET media_id = 'talks/a'")
    assert 0 == type_(url, "resolve", "talks/a", "--job-id", "job-9")
    assert ["submitted"] == states(url)


def test_a_name_of_two_videos_resolves_neither(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that is one video's id and another's media id settles neither."""
    rows(url, "in_doubt", "in_doubt")
    execute(url, "UPDATE videos SET media_id = '2' WHERE id = 1")
    assert 1 == type_(url, "resolve", "2", "--give-up")
    assert "'2' names 2 videos: say which, id=1 or id=2" in capsys.readouterr().err
    assert ["in_doubt", "in_doubt"] == states(url)
    assert 0 == type_(url, "resolve", "id=2", "--give-up")
    assert ["in_doubt", "failed"] == states(url)


@pytest.mark.parametrize(
    ("state", "flags"),
    [
        ("failed", ()),
        ("cancelled", ()),
        ("in_doubt", ("--may-buy-twice",)),
        ("in_doubt", ("--give-up",)),
    ],
)
def test_a_command_that_is_printed_takes_its_video_where_numbers_are_names_too(
    url: str, capsys: pytest.CaptureFixture[str], state: str, flags: tuple[str, ...]
) -> None:
    """The printed ways out name a video by its id alone, since its number may be another's name."""
    rows(url, state, state)
    execute(url, "UPDATE videos SET media_id = 3 - id")
    type_(url, "show", "id=1", "--json")
    (story,) = json.loads(capsys.readouterr().out)
    verb = "resolve" if "--give-up" in flags else "retry"
    (number,) = re.findall(rf"{verb} (\S+) ?{''.join(flags)}", story["next"])
    assert 0 == type_(url, verb, number, *flags)
    assert state != states(url)[0]
    assert state == states(url)[1]


@pytest.mark.parametrize("command", [("cancel",), ("retry", "--may-buy-twice")])
def test_a_number_that_names_two_videos_changes_neither(
    url: str, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """A number that is one video's id and another's media id changes neither."""
    rows(url, "failed", "failed", "failed")
    execute(url, "UPDATE videos SET media_id = '2' WHERE id = 1")
    execute(url, "UPDATE videos SET media_id = '1001' WHERE id = 3")
    assert 1 == type_(url, *command, "2", "3")
    assert "id=1 or id=2" in capsys.readouterr().err
    assert ["failed"] * 3 == states(url)
    assert 0 == type_(url, *command, "id=2", "1001")
    assert ["failed"] == states(url)[:1]
    assert ["failed"] not in [states(url)[1:2], states(url)[2:]]


def test_many_ids_are_taken_at_once(url: str) -> None:
    """A command takes more ids than a server takes parameters."""
    rows(url, *["failed"] * 3)
    assert 0 == type_(url, "retry", "--yes", *map(str, range(1, 9_001)))
    assert ["pending"] * 3 == states(url)


def test_what_only_looks_like_an_id_means_nobody(url: str) -> None:
    """A reference that only looks like an id matches no video."""
    rows(url, "failed", "failed")
    assert 1 == type_(url, "retry", "id=x", "--state", "failed")
    assert 1 == type_(url, "list", "id=x")
    assert ["failed"] * 2 == states(url)


@pytest.mark.parametrize("job", ["", "  ", "a\nb", "\udcff"])
def test_a_job_id_that_is_none_settles_nothing(url: str, job: str) -> None:
    """An empty job id settles nothing."""
    rows(url, "in_doubt")
    with pytest.raises(SystemExit, match="2"):
        type_(url, "resolve", "1", "--job-id", job)
    assert ["in_doubt"] == states(url)


def test_a_job_id_is_taken_without_the_blanks_of_its_copy(url: str) -> None:
    """Blanks around a job id are left out."""
    rows(url, "in_doubt")
    assert 0 == type_(url, "resolve", "1", "--job-id", " job-1 ")
    assert [("job-1",)] == execute(url, "SELECT job_id FROM videos")


def test_a_change_says_which_names_mean_nobody(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reference without a video is named."""
    rows(url, "pending", "pending")
    execute(url, "UPDATE videos SET media_id = 'talks/a' WHERE id = 1")
    assert 0 == type_(url, "cancel", "talks/a", "9", "nobody")
    assert ["cancelled", "pending"] == states(url)
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
    url: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], meant: str
) -> None:
    """The question names the number of videos and their doubts."""
    rows(url, *["failed"] * 12, "in_doubt")
    assert 1 == type_(url, *words)
    why = f"valossa-ingest: nothing was changed; --yes does it unasked: {meant}\n"
    assert why == capsys.readouterr().err


def test_what_was_given_up_is_left_by_a_retry_and_counted(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry leaves failures that were given up in doubt, and counts them."""
    rows(url, "in_doubt", "failed")
    execute(
        url,
        "INSERT INTO history (video_id, attempt, at, who, fact)"
        " VALUES (1, 1, '2026-01-01 00:00:00', 'w', 'in_doubt')",
    )
    type_(url, "resolve", "1", "--give-up")
    capsys.readouterr()
    assert 0 == type_(url, "retry", "--state", "failed")
    said = capsys.readouterr()
    assert "left, changed meanwhile, given up in doubt, or with a job before  1" in said.out
    assert "only with --may-buy-twice" in said.err
    assert ["failed", "pending"] == states(url)
    assert 1 == type_(url, "retry", "--state", "failed", "--json")
    told = json.loads(capsys.readouterr().out)
    assert {"retried": 0, "left": {"moved_on": 1}} == told


def test_a_doubt_that_a_retry_left_names_its_flag(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry that leaves a doubt names --may-buy-twice."""
    rows(url, "in_doubt")
    assert 1 == type_(url, "retry", "1")
    assert "only with --may-buy-twice" in capsys.readouterr().err


def test_a_pause_keeps_its_reason_and_tells_what_it_stops(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second pause keeps the first reason; resume says since when it was paused."""
    rows(url, "pending", "pending")
    type_(url, "pause", "--reason", "wrong list")
    assert "paused: 0 in flight may end, 2 wait;" in capsys.readouterr().out
    type_(url, "pause")
    capsys.readouterr()
    type_(url, "status", "--json")
    assert "wrong list" == json.loads(capsys.readouterr().out)["pause_reason"]
    type_(url, "resume")
    assert "resumed; it was paused since 2" in capsys.readouterr().out
    type_(url, "resume")
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
    url: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    """A job of another video, and a doubt that is settled, change nothing."""
    rows(url, "in_doubt", "in_doubt", "submitted")
    before = states(url)
    assert 1 == type_(url, "resolve", *words)
    assert f"valossa-ingest: {problem}\n" == capsys.readouterr().err
    assert before == states(url)


def test_a_pause_is_seen_by_status_and_ends_with_resume(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``status`` shows a pause and its reason until ``resume``."""
    assert 0 == type_(url, "pause", "--reason", "wrong list")
    capsys.readouterr()
    type_(url, "status", "--json")
    assert "wrong list" == json.loads(capsys.readouterr().out)["pause_reason"]
    assert 0 == type_(url, "resume")
    capsys.readouterr()
    type_(url, "status", "--json")
    assert None is json.loads(capsys.readouterr().out)["pause_reason"]


def test_a_paused_queue_is_left_alone_by_a_drain(url: str) -> None:
    """A drain of a paused queue sends nothing."""
    rows(url, "pending")
    type_(url, "pause")
    environment = {"VALOSSA_API_KEY": "k", "WORKER_API_URL": "http://127.0.0.1:9/core/1.0"}
    assert 75 == run(["drain", "--database", str(url)], environment)
    assert ["pending"] == states(url)


def test_why_groups_by_reason_with_what_helps(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``why`` groups failures of one cause and says what helps."""
    rows(url, "failed", "failed", "failed", "in_doubt", "submitted")
    assert 0 == type_(url, "why", "--json")
    groups = json.loads(capsys.readouterr().out)
    assert [(3, "failed", 1), (1, "in_doubt", 4)] == [
        (group["videos"], group["state"], group["example"]) for group in groups
    ]
    assert all(group["what_helps"] for group in groups)
    assert 0 == type_(url, "why")
    assert 3 == len(capsys.readouterr().out.splitlines())


def test_why_leaves_what_a_person_gave_up_alone(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``why`` proposes no plain retry for a doubt that a person gave up."""
    rows(url, "in_doubt")
    type_(url, "resolve", "1", "--give-up")
    capsys.readouterr()
    type_(url, "why", "--json")
    (group,) = json.loads(capsys.readouterr().out)
    assert "nothing; cancel ID puts it away" in group["what_helps"]


def test_an_export_for_a_month_has_what_was_handed_in_then(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export of a month has the jobs that were handed in then."""
    rows(url, "submitted", "submitted", "submitted")
    for number, day in enumerate(("2026-10-31", "2026-11-30", "2026-12-01"), start=1):
        at = f"{day} 00:00:00"
        execute(url, "UPDATE videos SET submitted_at = ? WHERE id = ?", at, number)
    words = ("--since", "2026-11-01", "--until", "2026-12-01", "--columns", "job_id,submitted_at")
    assert 0 == type_(url, "export", "--state", "submitted", *words)
    assert "job_id,submitted_at\njob-1,2026-11-30 00:00:00\n" == capsys.readouterr().out


def test_an_unknown_column_of_an_export_is_named(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown column is named, with exit 2."""
    assert 2 == type_(url, "export", "--columns", "job_id,sumbitted_at")
    said = capsys.readouterr()
    assert ("", True) == (said.out, "no column 'sumbitted_at': choose from url" in said.err)


@pytest.mark.parametrize("form", [(), ("--json-lines",)])
def test_an_export_goes_in_again_and_buys_nothing_twice(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    """An exported queue that is imported elsewhere keeps its jobs and takes no doubt."""
    rows(url, "pending", "failed", "submitted", "in_doubt")
    assert 0 == type_(url, "export", *form)
    (tmp_path / "all.txt").write_text(capsys.readouterr().out, encoding="utf-8")
    other = tmp_path / "other.db"
    assert 1 == type_(str(other), "import", str(tmp_path / "all.txt"), "--json")
    told = capsys.readouterr()
    assert (4, 3, 1) == (
        (found := json.loads(told.out))["rows"],
        found["inserted"],
        sum(found["rejected"].values()),
    )
    assert "was not used" not in told.err
    assert ["pending", "pending", "submitted"] == states(str(other))

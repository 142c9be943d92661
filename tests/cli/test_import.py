import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.plain import execute, insert_all
from worker.cli import run

ENDED = "https://b.s3.amazonaws.com/a.mp4?AWSAccessKeyId=A&Signature=S&Expires=1367619688"


def type_(url: str, *words: str) -> int:
    """Run an import; return its exit code."""
    return run(["import", *words, "--database", url], {})


def videos(url: str, *columns: str) -> list[tuple[object, ...]]:
    """Return these columns of every video, by id."""
    return execute(url, f"SELECT {', '.join(columns)} FROM videos ORDER BY id")


def write(folder: Path, name: str, text: str) -> str:
    """Write a file with this text; return its name."""
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


def test_every_row_is_added_or_skipped_or_rejected(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row of a list is added, skipped or rejected, and counted once."""
    text = (
        '\ufeffid,url,title\r\na,https://x.example/1.mp4,"two\r\nlines, and ""quotes"""\r\n'
        "a,https://x.example/1.webm,same id\r\nb,https://x.example/1.mp4,same url\r\n"
        f"c,{ENDED},signed\r\nd,ftp://x.example/2.mp4,scheme\r\ne,https://x.example/3.mp4\r\n"
        "f,https://x.example/4.mp4,Häxan\r\n"
    )
    rejects = tmp_path / "rejects.jsonl"
    file = write(tmp_path, "list.csv", text)
    assert 1 == type_(url, file, "--map", "media_id=id", "--rejects", str(rejects), "--json")
    told = json.loads(capsys.readouterr().out)
    assert (7, 3, 1, 3) == (
        told["rows"],
        told["inserted"],
        sum(told["skipped"].values()),
        sum(told["rejected"].values()),
    )
    assert [("a", 'two\r\nlines, and "quotes"'), ("e", None), ("f", "Häxan")] == videos(
        url, "media_id", "title"
    )
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    rejected = [reject for reject in kept if reject["kind"] == "rejected"]
    assert [4, 6, 7] == sorted(reject["line"] for reject in rejected)
    assert "sign it anew" in next(each["reason"] for each in kept if each["line"] == 6)
    assert [(5, "skipped")] == [(r["line"], r["kind"]) for r in kept if r not in rejected]


def test_an_import_can_be_repeated(url: str, tmp_path: Path) -> None:
    """An import that is repeated adds no video twice."""
    lines = "".join(f"https://x.example/{number}.mp4\n" for number in range(2_500))
    file = write(tmp_path, "list.csv", f"url\n{lines}")
    assert 0 == type_(url, file)
    assert 0 == type_(url, file)
    assert [(2_500,)] == execute(url, "SELECT count(*) FROM videos")


def test_duplicates_are_taken_where_they_are_wanted(url: str, tmp_path: Path) -> None:
    """An import with --allow-duplicates adds rows with equal urls."""
    file = write(tmp_path, "list.csv", "url\nhttps://x.example/1.mp4\nhttps://x.example/1.mp4\n")
    assert 0 == type_(url, file, "--allow-duplicates")
    assert [(2,)] == execute(url, "SELECT count(*) FROM videos")


def test_json_lines_go_in_by_mapped_names(url: str, tmp_path: Path) -> None:
    """The flag --map takes the columns of JSON Lines by their own names."""
    file = write(
        tmp_path,
        "list.jsonl",
        '{"link": "https://x.example/1.mp4", "n": 7, "prio": 5, "at": "2030-01-02T03:04:05+02"}\n'
        '{"link": "https://x.example/2.mp4"}\n',
    )
    maps = ["url=link", "media_id=n", "priority=prio", "due_at=at"]
    words = [word for pair in maps for word in ("--map", pair)]
    assert 0 == type_(url, file, *words, "--set", "language=fi-FI")
    assert [
        ("https://x.example/1.mp4", "7", 5, "fi-FI"),
        ("https://x.example/2.mp4", None, 0, "fi-FI"),
    ] == videos(url, "url", "media_id", "priority", "language")
    ((due_at,), _) = videos(url, "due_at")
    assert "2030-01-02 01:04:05" == str(due_at).removesuffix(".000000")


def test_fresh_columns_reach_what_is_still_to_be_sent(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An update changes pending, failed and cancelled videos, and no others."""
    states = ("pending", "failed", "cancelled", "submitting", "submitted", "in_doubt")
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": "2030-01-01 00:00:00"}
    before = [
        {
            "url": f"https://x.example/{state}.mp4",
            "media_id": state,
            "title": "kept",
            "language": "xx",
            "state": state,
            "job_id": "job" if state == "submitted" else None,
            "attempts": 1,
            "claims": 1,
            **claim,
        }
        for state in states
    ]
    insert_all(url, "videos", before)
    rows = "".join(f"{s},https://x.example/{s}.mp4?new,fi-FI\n" for s in states)
    file = write(tmp_path, "list.csv", f"media_id,url,language\n{rows}")
    assert 0 == type_(url, file, "--update", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (3, 3) == (told["updated"], sum(told["left"].values()))
    assert [
        ("pending", "fi-FI", "kept", 1),
        ("pending", "fi-FI", "kept", 0),
        ("cancelled", "fi-FI", "kept", 1),
        ("submitting", "xx", "kept", 1),
        ("submitted", "xx", "kept", 1),
        ("in_doubt", "xx", "kept", 1),
    ] == videos(url, "state", "language", "title", "attempts")


def test_corrections_need_no_addresses(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An update needs no url column; it finds videos by their media ids."""
    type_(url, write(tmp_path, "a.csv", "url,media_id\nhttps://x.example/1.mp4,a\n"))
    capsys.readouterr()
    file = write(tmp_path, "b.csv", "media_id,language\na,fi-FI\nunknown,fi-FI\n,fi-FI\n")
    assert 1 == type_(url, file, "--update", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (1, 0, 0, 2) == (
        told["updated"],
        told["inserted"],
        sum(told["left"].values()),
        sum(told["rejected"].values()),
    )
    assert [("https://x.example/1.mp4", "fi-FI")] == videos(url, "url", "language")


def test_rows_with_a_job_were_handed_in_by_other_means(url: str, tmp_path: Path) -> None:
    """A row with a job id is submitted already, and is never sent."""
    text = "url,media_id,job_id\nhttps://x.example/1.mp4,a,j1\nhttps://x.example/2.mp4,b,\n"
    said = ("--map", "job_id=job_id")
    assert 0 == type_(url, write(tmp_path, "a.csv", text), *said)
    again = "url,media_id,job_id\nhttps://x.example/2.mp4,b,j2\nhttps://x.example/3.mp4,c,j1\n"
    assert 0 == type_(url, write(tmp_path, "b.csv", again), "--update", *said)
    assert [("submitted", "j1"), ("submitted", "j2")] == videos(url, "state", "job_id")


def test_unused_columns_are_named_once_with_what_they_are_known_to_mean(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every unused column is named once, with the column that it may be meant for."""
    file = write(tmp_path, "a.csv", "url,lang,colour\nhttps://x.example/1.mp4,fi-FI,red\n")
    assert 0 == type_(url, file)
    assert (
        "valossa-ingest: column 'lang' was not used: did you mean --map language=lang? "
        "Rows that are in already take it with --update\n"
        "valossa-ingest: column 'colour' was not used\n"
    ) == capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("link,title\nhttps://x.example/1.mp4,a\n", "--map url=THEIRS"),
        ('{"link": "https://x.example/1.mp4"}\n', "--map url=THEIRS"),
        ('[{"url": "https://x.example/1.mp4"}]', "JSON Lines"),
        ("", "empty"),
    ],
)
def test_a_list_that_is_none_is_refused_as_a_whole(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, word: str
) -> None:
    """A file that is no list is refused as a whole, with one sentence and exit 2."""
    assert 2 == type_(url, write(tmp_path, "a.csv", text))
    assert word in capsys.readouterr().err
    assert [] == videos(url, "id")


@pytest.mark.parametrize("words", [("--map", "colour=x"), ("--set", "title")])
def test_a_wrong_flag_names_the_columns(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    """A wrong --map or --set is refused with the names of the columns."""
    file = write(tmp_path, "a.csv", "url\nhttps://x.example/1.mp4\n")
    assert 2 == type_(url, file, *words)
    assert "media_id" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that does not exist is named, with exit 2."""
    assert 2 == type_(url, "/nowhere/list.csv")
    assert "valossa-ingest: /nowhere/list.csv: No such file or directory\n" == (
        capsys.readouterr().err
    )


def test_a_pipe_is_a_list_too(url: str, tmp_path: Path) -> None:
    """An import reads a list from standard input."""
    write(tmp_path, "a.csv", "url\nhttps://x.example/1.mp4\n")
    before = sys.stdin
    try:
        with (tmp_path / "a.csv").open(encoding="utf-8") as sys.stdin:
            assert 0 == type_(url, "-")
    finally:
        sys.stdin = before
    assert [("https://x.example/1.mp4",)] == videos(url, "url")


def test_many_rejects_are_counted_and_few_are_shown(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rejects are counted by reason, and only the first ten are printed."""
    file = write(tmp_path, "a.csv", "url\n" + "".join(f"{ENDED}&n={n}\n" for n in range(30)))
    assert 1 == type_(url, file)
    told = capsys.readouterr()
    assert "rejected, url: signed link ended  30" in told.out
    assert 11 == len(told.err.splitlines())
    assert "skipped and left rows too; not shown: 20 rejected" in told.err


def test_add_prints_the_id_and_takes_nothing_twice(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``add`` prints the id of the new video, and refuses a known url."""
    words = ["add", "https://x.example/1.mp4", "--title", "A talk", "--database", url]
    assert 0 == run(words, {})
    assert "1\n" == capsys.readouterr().out
    assert 1 == run(words, {})
    assert "not added: same url" in capsys.readouterr().err
    assert 0 == run([*words, "--allow-duplicates"], {})
    assert "2\n" == capsys.readouterr().out
    assert 2 == run(["add", "nonsense", "--database", url], {})
    assert "url: must begin with http://" in capsys.readouterr().err


def test_a_cut_import_names_its_file_and_what_was_taken(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of rejects on a full disk is named, and so are the rows that are there already."""
    file = write(tmp_path, "list.csv", "url\nhttps://a.example/1.mp4\nftp://a.example/2.mp4\n")
    assert 2 == type_(url, file, "--rejects", "/dev/full", "--dry-run")
    assert "valossa-ingest: /dev/full: No space left on device\n" == capsys.readouterr().err
    assert 2 == type_(url, file, "--rejects", "/dev/full")
    taken, cause = capsys.readouterr().err.splitlines()
    assert (
        "valossa-ingest: rows in the queue before it stopped: 1; the same command goes on" == taken
    )
    assert "valossa-ingest: /dev/full: No space left on device" == cause


def test_a_cut_import_of_duplicates_does_not_promise_to_go_on(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command would take the first rows again, and another way is told."""
    file = write(tmp_path, "list.csv", "url\nhttps://a.example/1.mp4\nftp://a.example/2.mp4\n")
    assert 2 == type_(url, file, "--rejects", "/dev/full", "--allow-duplicates")
    taken = capsys.readouterr().err
    assert "stopped: 1; the same command would take it again, and may buy it twice: " in taken
    assert "cancel --batch NAME, or go on without --allow-duplicates" in taken
    assert 0 == run(
        ["cancel", "--batch", f"list.csv {datetime.now(UTC):%Y-%m-%d}", "--database", url], {}
    )
    assert [("cancelled",)] == videos(url, "state")

"""Local files, as people name them and see them."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.plain import insert_all

FILE = "for a local file write its path, which must be there"


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of files, which is the working folder."""
    folder = tmp_path / "media"
    (folder / "talks").mkdir(parents=True)
    for name, size in (("one.mp4", 1_000), ("talks/two.mp4", 2_000), ("talks/notes.txt", 10)):
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, (0, 0))
    monkeypatch.chdir(folder)
    return folder


def rooted(media: Path) -> Mapping[str, str]:
    """Return the variables of a worker that has this root."""
    return {"WORKER_UPLOAD_ROOTS": str(media)}


def urls(cli: Cli) -> list[object]:
    """Return the addresses in the queue."""
    return cli.sql("SELECT url FROM videos ORDER BY id")


def wait(cli: Cli, video: int, **columns: object) -> None:
    """Let a row wait for its upload, as a claim does."""
    row = {"video_id": video, "address": cli.row(video)["url"], "state": "wanted", **columns}
    insert_all(cli.url, "uploads", [row])


def alive(cli: Cli, roots: str | None) -> None:
    """Let a worker with these folders live."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
    row = {"id": "w", "host": "h", "pid": 1, "command": "run", "started_at": now, "seen_at": now}
    insert_all(cli.url, "workers", [{**row, "upload_roots": roots}])


def test_a_path_is_added_as_the_address_of_its_file(cli: Cli, media: Path) -> None:
    """Relative to where a person is."""
    assert 0 == cli("add", "./talks/two.mp4", "--title", "Two", **rooted(media)).code
    assert 0 == cli("add", "one.mp4", **rooted(media)).code
    assert 1 == cli("add", f"{media}/talks/../one.mp4", **rooted(media)).code
    assert [f"file://{media}/talks/two.mp4", f"file://{media}/one.mp4"] == urls(cli)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("./none.mp4", "media/none.mp4' is not there; correct the path (a relative one begins in"),
        ("talks", "talks': is a folder"),
        ("/etc/hostname", "/media:/etc\n"),
        ("file:relative.mp4", "url: names no whole path; begin with file:///"),
        ("file:///../x", "url: holds a . or .. or an empty name"),
        ("talks/none.mp4", "media/talks/none.mp4' is not there; correct the path"),
        ("no-such.mp4", f"or file://; {FILE}\n"),
        ("no such.mp4", f"percent-encode it; {FILE}\n"),
        ("folder/no-such.mp4", f"or file://; {FILE}\n"),
        ("s3://bucket/talk.mp4", "or file://\n"),
    ],
)
def test_what_cannot_be_uploaded_is_not_added(cli: Cli, media: Path, typed: str, why: str) -> None:
    """The message has the file and the way out."""
    said = cli("add", typed, **rooted(media))
    assert (2, []) == (said.code, urls(cli))
    assert why in said.err


def test_without_the_setting_add_and_import_name_it(cli: Cli, media: Path) -> None:
    """The default has no roots."""
    said = cli("add", "one.mp4")
    assert f"set the setting, as with export WORKER_UPLOAD_ROOTS={media}\n" in said.err
    said = cli("import", "--files", "*.mp4")
    assert (1, []) == (said.code, urls(cli))
    assert "WORKER_UPLOAD_ROOTS" in said.err


def test_an_address_of_a_file_is_for_another_machine_too(cli: Cli) -> None:
    """It need not be here, and has one spelling."""
    for typed in ("file:///srv/media/a%20b.mp4", "file://localhost/srv/media/%61%20b.mp4"):
        cli("add", typed)
    assert ["file:///srv/media/a%20b.mp4"] == urls(cli)


@pytest.mark.parametrize(
    "lines",
    [
        ["url,media_id", "talks/two.mp4,2", "./one.mp4,1", "https://a.example/c.mp4,3"],
        ['{"url": "talks/two.mp4"}', '{"url": "one.mp4"}', '{"url": "https://a.example/c.mp4"}'],
        ["./talks/two.mp4", "./one.mp4", "https://a.example/c.mp4"],
    ],
)
def test_a_list_has_paths_relative_to_itself(
    cli: Cli, media: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    """Wherever it is read from: a table, JSON Lines, or a path a line."""
    (media / "list").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir("/")
    said = cli("import", media / "list", **rooted(media))
    assert 0 == said.code, said.err
    want = [f"file://{media}/talks/two.mp4", f"file://{media}/one.mp4", "https://a.example/c.mp4"]
    assert want == urls(cli)


def test_paths_with_anything_in_them_are_lines_of_a_list(cli: Cli, media: Path) -> None:
    """As ``find`` writes them."""
    names = ["a, b.mp4", "c;d|e.mp4", "with space.mp4", "f, g/h.mp4"]
    (media / "f, g").mkdir()
    for name in names:
        (media / name).write_bytes(b"x")
    (media / "list").write_text("".join(f"./{name}\n" for name in names))
    said = cli("import", "list", **rooted(media))
    assert (0, 4) == (said.code, len(urls(cli))), said.err


def test_a_path_that_is_wrong_is_a_reject(cli: Cli, media: Path) -> None:
    """With its line, and what is right is taken."""
    (media / "list.csv").write_text("url\n./one.mp4\n./none.mp4\n/etc/hostname\nnone.mp4\n")
    said = cli("import", "list.csv", "--rejects", "rejects", **rooted(media))
    assert (1, [f"file://{media}/one.mp4"]) == (said.code, urls(cli))
    rejects = [json.loads(line) for line in (media / "rejects").read_text().splitlines()]
    assert [3, 4, 5] == [each["line"] for each in rejects]
    assert f"url: '{media}/none.mp4' is not there; correct the path" in rejects[0]["reason"]
    assert FILE in rejects[2]["reason"]
    assert {"url": "./none.mp4"} == rejects[0]["row"]


def test_a_folder_is_imported_with_media_ids(cli: Cli, media: Path) -> None:
    """By a pattern of files and one of ids; what is no video is told."""
    said = cli(
        *("import", "--files", "**/*", "--batch", "talks", "--media-id", "{folder}.{stem}"),
        "--json",
        **rooted(media),
    )
    assert (0, 3, 3_010) == (said.code, said.json()["inserted"], said.json()["bytes_to_upload"])
    ids = cli.sql("SELECT media_id FROM videos ORDER BY id")
    assert ["media.one", "talks.notes", "talks.two"] == ids
    assert ["talks"] == cli.sql("SELECT DISTINCT batch FROM videos")
    found = {each["reason"] for each in said.json()["found"]}
    assert {"url: has no file ending of a video", "url: has changed within a minute"} == found


def test_a_name_with_a_blank_at_its_end_is_imported(cli: Cli, media: Path) -> None:
    """As it is on the disk; a path in a list has no blank around it."""
    (media / "trail.mp4 ").write_bytes(b"x")
    assert 0 == cli("import", "--files", "trail*", **rooted(media)).code
    (media / "list.txt").write_text("url\n one.mp4 \n")
    assert 0 == cli("import", "list.txt", **rooted(media)).code
    assert [f"file://{media}/trail.mp4%20", f"file://{media}/one.mp4"] == urls(cli)


def test_a_pattern_that_finds_nothing_imports_nothing(cli: Cli, media: Path) -> None:
    """The message has the pattern."""
    said = cli("import", "--files", "*.mkv", **rooted(media))
    assert (2, []) == (said.code, urls(cli))
    assert "--files '*.mkv' finds no file" in said.err


def test_preflight_looks_at_files_and_sums_them(cli: Cli, media: Path) -> None:
    """All that will fail, what is elsewhere, and the bytes and hours of the rest."""
    (media / "empty.mp4").touch()
    large = media / "large.mp4"
    large.touch()
    os.truncate(large, 6_000_000_000)
    names = ("one.mp4", "empty.mp4", "large.mp4", "gone.mp4")
    for address in (*(f"{media}/{name}" for name in names), "/elsewhere/x.mp4"):
        cli.insert(url=f"file://{address}")
    said = cli("preflight", "--json", WORKER_UPLOAD_BYTES_PER_SECOND="2000000", **rooted(media))
    assert (1, 6_000_001_000) == (said.code, said.json()["bytes_to_upload"])
    found = {f["reason"]: (f["weight"], f["rows"]) for f in said.json()["found"]}
    assert ("surely wasted", [2]) == found["url: is empty"]
    assert ("look", [4]) == found["url: … is not there"]
    assert ("look", [5]) == found["url: is in none of upload_roots"]
    assert "url: has changed within a minute" in found
    told = cli("preflight", WORKER_UPLOAD_BYTES_PER_SECOND="2000000", **rooted(media))
    assert "to upload: 6.0 GB (0:50:00)\n" in told.out
    told = cli("drain", "--dry-run", **rooted(media))
    assert "6.0 GB" == told.pairs()["to upload first"]


def test_what_waits_for_its_file_is_told(cli: Cli, tmp_path: Path) -> None:
    """``status``, ``why`` and ``show`` say what is left, and what no worker can do."""
    for name in ("media/a.mp4", "media/b.mp4", "stray/c.mp4"):
        cli.insert(url=f"file:///srv/{name}", due_at="2099-01-01 00:00:00", held_host="file:")
    wait(cli, 1, size=9_000_000_000, chunk_size=1_000_000, acknowledged=1_800)
    wait(cli, 2, error="'b.mp4' is not there")
    wait(cli, 3)
    alive(cli, "file:///srv/media")
    said = cli("status", "--json").json()
    assert (3, 1, 2) == tuple(said["to_upload"][n] for n in ("files", "homeless", "unseen"))
    assert "needs a person" == said["verdict"]["state"]
    told = cli("status")
    assert (
        "1 to upload, but in upload_roots of no worker; working: 0 due, 0 in flight, 2 to upload"
        in told.out
    )
    line = "3, 0 under way, 7.2 GB and 2 of unknown size left; 1 in upload_roots of no worker"
    assert line in told.out
    assert 0 == cli("status", "--html", tmp_path / "page.html").code
    assert f"To upload first: {line}." in (tmp_path / "page.html").read_text()
    groups = {row[2]: row for row in cli("why").rows()[1:]}
    assert "3" == groups["its file: is in no upload_roots"][3]
    assert "2" == groups["its file: 'b.mp4' is not there"][3]
    assert [["1", "3"]] == [[row[0], row[3]] for row in cli("why", 3).rows()[1:]]
    assert "its file is uploaded first" in cli("show", 1).out


def test_a_drain_is_told_to_buy_what_waits_for_its_upload(cli: Cli, media: Path) -> None:
    """``drain --dry-run`` counts and judges those files, which the drain uploads and buys."""
    (media / "empty.mp4").touch()
    for number, name in enumerate(("one.mp4", "empty.mp4"), start=1):
        later = {"due_at": "2099-01-01 00:00:00", "held_host": "file:"}
        cli.insert(url=f"file://{media}/{name}", **later)
        wait(cli, number)
    cli.insert(url="https://e.org/a.mp4", due_at="2099-01-01 00:00:00")
    told = cli("drain", "--dry-run", **rooted(media)).pairs()
    assert ("2", "1") == (told["to buy"], told["surely wasted"])
    assert "0.0 MB" == told["to upload first"]
    assert "1" == cli("drain", "--dry-run", "--limit", "1", **rooted(media)).pairs()["to buy"]


def test_how_long_a_hold_lasts_is_not_exported(cli: Cli) -> None:
    """An import of the export would plan its rows as late as that."""
    cli.insert(url="file:///srv/a.mp4", due_at="2099-01-01 00:00:00", held_host="file:")
    cli.insert(url="file:///srv/b.mp4", due_at="2099-01-01 00:00:00")
    told = cli("export", "--columns", "due_at", "--json-lines").out.splitlines()
    assert [None, "2099-01-01 00:00:00"] == [json.loads(line).get("due_at") for line in told]


def test_a_file_that_nobody_can_upload_needs_a_person(cli: Cli) -> None:
    """A worker is there, and has said long ago why it does not upload the last file."""
    cli.insert(url="file:///srv/media/a.mp4", due_at="2099-01-01 00:00:00", held_host="file:")
    wait(cli, 1, error="'a.mp4' is not there", next_try_at="2026-01-01 00:00:00")
    alive(cli, "file:///srv/media")
    told = cli("status", "--json").json()["verdict"]
    assert "needs a person: 1 cannot be uploaded ('a.mp4' is not there)" == told["sentence"]


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        ("'a.mp4' is not there", "put it where a worker reads it, or valossa-ingest cancel id=1"),
        ("changed while it was read", "it is being written: wait until it is whole, then drain"),
        ("'a.mp4': Permission denied", "start a worker that may read the file"),
        ("initialize_file_upload answered {}", "valossa-ingest check --online says"),
        ("HTTP 401: Invalid API key", "valossa-ingest check --online says"),
        ("not sent: ClientConnectorError: no route", "valossa-ingest check --online says"),
    ],
)
def test_what_helps_depends_on_who_has_the_trouble(cli: Cli, error: str, helps: str) -> None:
    """The file that is not whole or not there, the worker that may not read it, or the API. A
    drain names it at its end, too.
    """
    cli.insert(url="file:///srv/media/a.mp4", due_at="2099-01-01 00:00:00", held_host="file:")
    wait(cli, 1, error=error)
    alive(cli, "file:///srv/media")
    (row,) = cli("why").rows()[1:]
    assert f"its file: {error}" == row[2]
    assert helps in row[4]
    cli.sql("DELETE FROM workers")
    cli.sql("UPDATE uploads SET next_try_at = '2099-01-01 00:00:00'")
    said = cli("drain", VALOSSA_API_KEY="k", WORKER_LOG_LEVEL="error", WORKER_UPLOAD_ROOTS="/srv")
    assert 75 == said.code
    assert f"1 not uploaded, such as video 1: {error}: {row[4]}" in said.err


def test_the_request_of_a_file_has_the_address_of_its_upload(cli: Cli) -> None:
    """No ``file:`` is ever sent; before its upload, the address is not known."""

    def sent() -> object:
        return json.loads(cli("show", 1, "--json").out)[0]["request"]["media"]["video"]["url"]

    cli("add", "file:///srv/a.mp4")
    assert "valossaupload://… (its file is not uploaded yet)" == sent()
    wait(cli, 1)
    assert "valossaupload://… (its file is not uploaded yet)" == sent()
    cli.sql("UPDATE uploads SET state = 'ready', url = 'valossaupload://x'")
    assert "valossaupload://x" == sent()


def test_nobody_is_missed_while_no_worker_lives(cli: Cli) -> None:
    """Its folders are not known; ``why`` takes those of this machine."""
    cli.insert(url="file:///srv/a.mp4", due_at="2099-01-01 00:00:00")
    wait(cli, 1)
    said = cli("status", "--json").json()
    assert (
        "not running: 0 due, 0 in flight, 1 to upload, no worker is alive"
        == said["verdict"]["sentence"]
    )
    assert 0 == said["to_upload"]["homeless"]
    assert "2099" not in cli("status").out
    assert "its file: is in no upload_roots" == cli("why").rows()[1][2]
    assert 1 == len(cli("why", WORKER_UPLOAD_ROOTS="/srv").rows())

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from tests.cli.conftest import Cli, Said, Screen
from worker.cli.commands.import_files import next_chunk
from worker.cli.commands.interruptible import StopSignal
from worker.formats import read

List = Callable[..., Path]


@contextmanager
def standard_input(data: bytes) -> Any:  # noqa: ANN401 - a context
    """Let standard input be these bytes."""
    before = sys.stdin
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        try:
            with io.TextIOWrapper(file) as sys.stdin:
                yield
        finally:
            sys.stdin = before


def sums(said: Said) -> tuple[int, int, int, int, int, int]:
    """Return the numbers of rows read, inserted, updated, skipped, left and rejected."""
    told = said.json()
    counted = (sum(told[name].values()) for name in ("skipped", "left", "rejected"))
    return (told["rows"], told["inserted"], told["updated"], *counted)


def named(cli: Cli) -> str:
    """Return the database as a report names it."""
    is_file = cli.shown == str(cli.path.absolute())
    (schema,) = [""] if is_file else cli.sql("SELECT ', schema ' || current_schema()")
    return f"{cli.shown}{schema}"


def told_rejects(path: Path) -> list[tuple[int, str]]:
    """Return the line and the reason of each reject."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(line["line"], line["reason"]) for line in lines]


@contextmanager
def refusing_bad_titles(cli: Cli) -> Iterator[None]:
    """Let the database refuse the title "bad", as another program's CHECK or trigger may."""
    if "://" not in cli.url:
        cli.sql(
            "CREATE TRIGGER theirs BEFORE INSERT ON videos WHEN NEW.title = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'theirs'); END"
        )
        yield
        return
    cli.sql("ALTER TABLE videos ADD CONSTRAINT theirs CHECK (title <> 'bad')")
    try:
        yield
    finally:
        cli.sql("ALTER TABLE videos DROP CONSTRAINT theirs")


# add


def test_add_takes_every_column(cli: Cli) -> None:
    """``add`` takes every column of a list as a flag."""
    flags = {
        "media_id": "talk-1",
        "title": "Ää 🎬",
        "description": "two\nlines",
        "language": "fi-FI",
        "transcript_url": "https://example.org/a.srt",
        "face_min_relative_height": "0.25",
        "face_gallery_id": "g",
        "email_group": "team",
        "callback_url": "https://example.org/done",
        "priority": "5",
        "due_at": "2030-01-31",
    }
    words = [word for name, value in flags.items() for word in (_flag(name), value)]
    said = cli("add", "https://example.org/a.mp4", *words)
    place = f"added in {named(cli)}\n"
    assert (0, "1\n", place) == (said.code, said.out, said.err)
    stored = cli.row(1)
    expected = {
        **flags,
        "face_min_relative_height": 0.25,
        "priority": 5,
        "due_at": "2030-01-31 00:00:00",
        "url": "https://example.org/a.mp4",
        "state": "pending",
    }
    stored["due_at"] = stored["due_at"].removesuffix(".000000")
    assert expected == {name: stored[name] for name in expected}


def _flag(column: str) -> str:
    """Return the flag of a column."""
    return "--" + column.replace("_", "-")


def test_add_says_as_json_what_became_of_it(cli: Cli) -> None:
    """``add --json`` prints the id, or the reason why no video was added."""
    words = ("https://example.org/a.mp4", "--media-id", "a", "--json")
    also = {"brought_back": False, "database": named(cli)}
    assert {"id": 1, "skipped": None, **also} == cli("add", *words).json()
    said = cli("add", *words)
    why = "same url as a video that is there already"
    assert (1, {"id": None, "skipped": why, **also}) == (said.code, said.json())
    assert f"valossa-ingest: not added: {why} (--allow-duplicates adds it)\n" == said.err
    assert (1, "") == ((said := cli("add", *words[:3])).code, said.out)
    said = cli("add", "https://example.org/b.mp4", "--media-id", "a", "--json")
    assert "same media_id as a video that is there already" == said.json()["skipped"]
    added = {"id": 2, "skipped": None, **also}
    assert added == cli("add", *words, "--allow-duplicates").json()


def test_add_hands_nothing_in_again(cli: Cli) -> None:
    """A video that is added with a job id is submitted, and is never sent."""
    assert 0 == cli("add", "https://example.org/a.mp4", "--job-id", "j-1").code
    assert ("submitted", "j-1") == (cli.row(1)["state"], cli.row(1)["job_id"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nonsense",), "url: must begin with http"),
        (("https://e.org/a", "--priority", str(10**30)), f"priority: '{10**30}' is too large"),
        (("https://e.org/a", "--due-at", "0001-01-01"), "due_at: '0001-01-01' is before 1970"),
        (("https://e.org/a", "--due-at", "soon"), "due_at: 'soon' is no moment"),
        (("https://e.org/a", "--title", "a\udcff"), "title: holds bytes that are not UTF-8"),
        (("https://e.org/a", "--title", "a\0"), "title: holds a NUL character; take it out"),
        (("https://e.org/\udcff",), "url: holds bytes that are not UTF-8"),
        (
            ("https://e.org/a?AWSAccessKeyId=SECRET&Expires=1",),
            "url: signed link ended 1970-01-01 00:00:01 UTC; it must live 6 h longer",
        ),
    ],
)
def test_add_refuses_what_could_not_be_sent(fresh: Cli, words: tuple[str, ...], why: str) -> None:
    """A bad value is refused with its column and exit 2, and no database is made."""
    said = fresh("add", *words)
    assert (2, "", 1) == (said.code, said.out, len(said.err.splitlines()))
    assert f"valossa-ingest: {why}" == said.err[: len(why) + 16]
    assert "SECRET" not in said.err
    assert not fresh.path.exists()


def test_a_title_of_two_megabytes_goes_in_whole(cli: Cli) -> None:
    """A title of 2 MB is stored whole: only the API limits its length."""
    title = 2_000_000 * "x"
    assert 0 == cli("add", "https://example.org/a.mp4", "--title", title).code
    assert title == cli.row(1)["title"]
    assert 0 == cli("list").code


@pytest.mark.parametrize("command", ["add", "import"])
def test_the_first_commands_make_the_database(fresh: Cli, listed: List, command: str) -> None:
    """``add`` and ``import`` make a missing database file."""
    fresh.path.parent.mkdir()
    subject = "https://e.org/a" if command == "add" else listed("url", "https://e.org/a")
    assert 0 == fresh(command, subject).code
    assert ["https://e.org/a"] == fresh.sql("SELECT url FROM videos")


@pytest.mark.parametrize("command", ["add", "import"])
def test_the_first_commands_fill_an_empty_database(empty: Cli, listed: List, command: str) -> None:
    """``add`` and ``import`` make the tables in an empty database of a server."""
    subject = "https://e.org/a" if command == "add" else listed("url", "https://e.org/a")
    for _ in range(2):
        assert 0 == empty(command, subject, "--allow-duplicates").code
    assert ["https://e.org/a"] * 2 == empty.sql("SELECT url FROM videos")


@pytest.mark.parametrize("command", ["add", "import"])
def test_a_database_that_cannot_be_made_is_named(fresh: Cli, listed: List, command: str) -> None:
    """A database whose folder is missing is named in one sentence, with exit 78."""
    subject = "https://e.org/a" if command == "add" else listed("url", "https://e.org/a")
    said = fresh(command, subject)
    expected = f"valossa-ingest: database {fresh.path}: it cannot be opened: check the path"
    assert (78, expected) == (said.code, said.err[: len(expected)])


# import: what is read


ODD = "Ä 🎬, \"quoted\"\r\nand a second line; 'x'"


def test_a_csv_may_be_as_spreadsheets_write_it(cli: Cli, listed: List) -> None:
    """A BOM, CRLF, semicolons, quoted line ends and empty lines leave the values unchanged."""
    quoted = ODD.replace('"', '""')
    file = listed(
        b"\xef\xbb\xbfurl;title;media_id\r\n\r\n",
        f'https://e.org/1.mp4;"{quoted}";a\r\n'.encode(),
        b"https://e.org/2.mp4;;b",
    )
    assert (2, 2, 0, 0, 0, 0) == sums(cli("import", file, "--json"))
    assert [(ODD, "a"), (None, "b")] == cli.sql("SELECT title, media_id FROM videos ORDER BY id")


def test_json_lines_keep_their_values(cli: Cli, listed: List) -> None:
    """Numbers, nulls and absent fields of JSON have the same meaning as in CSV."""
    rows = [
        {"url": "https://e.org/1.mp4", "title": ODD, "media_id": 7, "priority": 3},
        {"url": "https://e.org/2.mp4", "title": None},
    ]
    file = listed(b"\xef\xbb\xbf", *map(json.dumps, rows))
    assert (2, 2, 0, 0, 0, 0) == sums(cli("import", file, "--json"))
    assert [(ODD, "7", 3), (None, None, 0)] == cli.sql(
        "SELECT title, media_id, priority FROM videos ORDER BY id"
    )


def test_a_line_that_cannot_be_read_is_a_reject_and_not_the_end(
    cli: Cli, listed: List, tmp_path: Path
) -> None:
    """Each bad line is kept with its number and reason, and the lines after it are imported."""
    rejects = tmp_path / "rejects.jsonl"
    file = listed(
        "url,title",
        "https://e.org/1.mp4,A",
        "https://e.org/2.mp4,A,too many",
        b"https://e.org/3.mp4,\xff\xfe\n",
        "nonsense,A",
        'https://e.org/4.mp4,"two\nlines"',
        ",A",
        "https://e.org/5.mp4,A",
    )
    said = cli("import", file, "--rejects", rejects, "--json")
    assert (1, (7, 3, 0, 0, 0, 4)) == (said.code, sums(said))
    told = told_rejects(rejects)
    assert [3, 4, 5, 8] == [line for line, _ in told]
    beginnings = (
        "the header has 2 cells",
        "line 4 is not UTF-8",
        "url: must begin",
        "url: is empty",
    )
    assert list(beginnings) == [
        why[: len(start)] for (_, why), start in zip(told, beginnings, strict=True)
    ]
    first = json.loads(rejects.read_text(encoding="utf-8").splitlines()[2])
    assert {"url": "nonsense", "title": "A"} == first["row"]
    assert str(file) == first["file"]


HOSTILE: list[tuple[dict[str, object] | bytes, str]] = [
    (b'{"url": "https://e.org/a", "title": "\\ud800"}', "title: holds bytes that are not UTF-8"),
    (b'{"url": "https://e.org/a", "title": "\\u0000"}', "title: holds a NUL character"),
    (b'{"url": "https://e.org/a", "title": "' + 2_000_000 * b"x" + b'"}', "line 2 is longer than"),
    ({"priority": 10**30}, "priority: '1000000000000000000000000000000' is too large"),
    (b'{"url": "https://e.org/a", "priority": 1e999}', "a number out of range: 1e999"),
    ({"priority": "9" * 5_000}, "priority: '999999999999"),
    ({"due_at": "0001-01-01"}, "due_at: '0001-01-01' is before 1970"),
    ({"due_at": "9999-12-31T23:59:59-23:00"}, "due_at: '9999-12-31T23:59:59-23:00' is no moment"),
    ({"due_at": "292277026596-12-04"}, "due_at: '292277026596-12-04' is no moment"),
    ({"title": ["a"]}, "title: must be text, not list"),
    ({"face_min_relative_height": "inf"}, "face_min_relative_height: inf is not a share"),
    ({"job_id": "j\0", "state": "submitted"}, "job_id: is no job id of theirs"),
    ({"job_id": "j", "face_min_relative_height": 7}, "face_min_relative_height: 7.0 is not"),
    ({"url": "http://[::1"}, "url: is no readable address"),
    ({"url": "https://e.org/\x00"}, "url: holds a NUL character"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"url": ' + 50_000 * b'{"a":', "nested too deeply"),
    (b'{"url": "https://e.org/a", "url": "https://e.org/b"}', "the key 'url' stands 2 times"),
]


@pytest.mark.parametrize(("bad", "why"), HOSTILE)
@pytest.mark.parametrize("flag", ["--json", "--update", "--allow-duplicates"])
def test_a_hostile_value_costs_its_own_row(
    cli: Cli, listed: List, tmp_path: Path, flag: str, bad: dict[str, object] | bytes, why: str
) -> None:
    """A bad value rejects its own row only; its neighbours are imported (law 14)."""
    line = bad if isinstance(bad, bytes) else json.dumps({"url": "https://e.org/a", **bad}).encode()
    rejects = tmp_path / "rejects.jsonl"
    file = listed('{"url": "https://e.org/1"}', line + b"\n", '{"url": "https://e.org/2"}')
    assert 1 == cli("import", file, "--rejects", rejects, flag).code
    ((number, told),) = told_rejects(rejects)
    assert (2, why) == (number, told[: len(why)])
    assert ["https://e.org/1", "https://e.org/2"] == cli.sql("SELECT url FROM videos ORDER BY id")


def in_days(days: int) -> datetime:
    """Return the time so many days from now."""
    return datetime.now(UTC) + timedelta(days=days)


def s3_v2(end: datetime) -> str:
    """Sign a link as boto does by default in old regions."""
    return f"AWSAccessKeyId=A&Signature=S&Expires={end:%s}"


def s3_v4(end: datetime) -> str:
    """Sign a link as S3 does today."""
    start = end - timedelta(hours=1)
    return f"X-Amz-Date={start:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600&X-Amz-Signature=S"


def cloudfront(end: datetime) -> str:
    """Sign a link of CloudFront with a canned policy."""
    return f"Expires={end:%s}&Signature=S&Key-Pair-Id=K"


def google(end: datetime) -> str:
    """Sign a link as Google Cloud Storage does."""
    start = end - timedelta(hours=1)
    return f"X-Goog-Date={start:%Y%m%dT%H%M%SZ}&X-Goog-Expires=3600&X-Goog-Signature=S"


def azure(end: datetime) -> str:
    """Sign a link with a shared access signature."""
    return f"sv=2024-11-04&se={end:%Y-%m-%dT%H:%M:%SZ}&sig=S"


@pytest.mark.parametrize("sign", [s3_v2, s3_v4, cloudfront, google, azure])
def test_a_signed_link_that_ends_too_soon_is_refused_with_the_remedy(
    cli: Cli, listed: List, sign: Callable[[datetime], str]
) -> None:
    """A link that ends within the margin is rejected before it costs a request."""
    links = [f"https://e.org/{days}.mp4?{sign(in_days(days))}" for days in (-2, 0, 3)]
    said = cli("import", listed("url", *links), "--json")
    assert (1, (3, 1, 0, 0, 0, 2)) == (said.code, sums(said))
    assert [links[2]] == cli.sql("SELECT url FROM videos ORDER BY id")
    lines = said.err.splitlines()
    assert 2 == len([line for line in lines if "sign it anew and bring it in with import" in line])
    assert "Signature" not in said.err
    ahead = f"https://e.org/soon.mp4?{sign(in_days(1))}"
    file = listed("url", ahead)
    assert 1 == cli("import", file, WORKER_URL_MARGIN_SECONDS="100000").code
    assert 0 == cli("import", file).code


# import: what is refused as a whole


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "The file is empty: it needs a CSV header, or one JSON object a line."),
        (b"\n \n", "The file is empty: it needs a CSV header, or one JSON object a line."),
        (
            "url\nhttps://e.org/1\n".encode("utf-16"),
            "The file is UTF-16, not UTF-8: import it with --encoding UTF-16, or convert",
        ),
        (
            b"link,title\nhttps://e.org/1,A\n",
            "{file} has no column 'url' for url; it has link, title: name it with --map url=THEIRS",
        ),
        (
            b'{"link": "https://e.org/1"}\n{"title": "A"}\n',
            "{file} has no column 'url' for url; it has link, title: name it with --map url=THEIRS",
        ),
        (b"\x1b[2J\x00,b\n", "{file} has no column 'url' for url; it has \\x1b[2J\ufffd, b: name"),
        (b'"url\n', "The CSV header cannot be read (not CSV: a quoted cell is not closed"),
    ],
)
def test_a_file_that_is_no_list_is_one_sentence(
    cli: Cli, listed: List, content: bytes, why: str
) -> None:
    """A file that is no list is named with the remedy and exit 2, and nothing is imported."""
    file = listed(content)
    said = cli("import", file)
    assert (2, "", 1) == (said.code, said.out, len(said.err.splitlines()))
    assert why.format(file=file) in said.err
    assert str(file) in said.err
    assert [0] == cli.sql("SELECT count(*) FROM videos")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing.csv", "{path}: No such file or directory"),
        (".", "{path}: Is a directory"),
        ("/proc/self/mem", "/proc/self/mem: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    fresh: Cli, tmp_path: Path, name: str, why: str
) -> None:
    """An unreadable file is named with the system's reason and exit 2; no database is made."""
    path = tmp_path / name
    said = fresh("import", path)
    assert (2, f"valossa-ingest: {why.format(path=path)}\n") == (said.code, said.err)
    assert not fresh.path.exists()


def test_rejects_that_cannot_be_written_are_one_sentence(
    cli: Cli, listed: List, tmp_path: Path
) -> None:
    """An import whose rejects cannot be written imports nothing."""
    path = tmp_path / "missing" / "rejects.jsonl"
    said = cli("import", listed("url", "https://e.org/1"), "--rejects", path)
    assert (2, f"valossa-ingest: {path}: No such file or directory\n") == (said.code, said.err)
    said = cli("import", listed("url", *["nonsense"] * 1_000), "--rejects", "/dev/full")
    assert (2, "valossa-ingest: /dev/full: No space left on device\n") == (
        said.code,
        said.err,
    )
    assert [0] == cli.sql("SELECT count(*) FROM videos")


def test_rejects_never_overwrite_the_list(cli: Cli, listed: List) -> None:
    """A file of rejects that is the list itself is refused, and the list stays as it is."""
    file = listed("url", "nonsense")
    said = cli("import", file, "--rejects", file)
    assert (2, True) == (said.code, "would overwrite the list itself" in said.err)
    assert "url\nnonsense\n" == file.read_text(encoding="utf-8")


def test_rejects_wait_for_no_reader_of_a_pipe(
    cli: Cli, listed: List, tmp_path: Path, screen: Callable[..., Screen]
) -> None:
    """A pipe of rejects without a reader is refused; one with a reader gets them."""
    pipe, file = tmp_path / "pipe", listed("url", "nonsense")
    os.mkfifo(pipe)
    program = screen("import", file, "--rejects", pipe, "--database", cli.url)
    program.wait_for("nothing reads this pipe: start its reader")
    assert 2 == program.ended()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert 1 == cli("import", file, "--rejects", pipe).code
    assert b"must begin with http" in os.read(reader, 10_000)
    os.close(reader)


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("made", [True, False])
def test_rejects_never_overwrite_the_queue(
    fresh: Cli, listed: List, end: str, *, made: bool
) -> None:
    """A file of rejects that is one of the queue is refused, also before the queue is made."""
    file = listed("url", "https://e.org/1", "nonsense")
    fresh.path.parent.mkdir()
    if made:
        fresh("import", file)
    said = fresh("import", file, "--rejects", f"{fresh.path}{end}")
    assert (2, "") == (said.code, said.out)
    assert f"--rejects {fresh.path}{end} would overwrite a database: name another" in said.err
    assert ([1] if made else None) == (
        fresh.sql("SELECT count(*) FROM videos") if fresh.path.exists() else None
    )


def test_rejects_overwrite_no_other_database(cli: Cli, fresh: Cli, listed: List) -> None:
    """A file of rejects that is a database of SQLite is refused, whichever the queue is."""
    file = listed("url", "https://e.org/1", "nonsense")
    fresh.path.parent.mkdir()
    fresh("import", file)
    said = cli("import", file, "--rejects", fresh.path)
    assert (2, True) == (said.code, "would overwrite a database" in said.err)
    assert [1] == fresh.sql("SELECT count(*) FROM videos")


@pytest.mark.parametrize(
    "words", [("--map", "colour=x"), ("--map", "title"), ("--set", "colour=x"), ("--set", "id=3")]
)
def test_a_wrong_pair_names_the_columns(cli: Cli, listed: List, words: tuple[str, ...]) -> None:
    """A wrong --map or --set is refused with the names of the columns."""
    said = cli("import", listed("url", "https://e.org/1"), *words)
    expected = f"valossa-ingest: {words[1]!r}: write COLUMN=…, COLUMN being one of url, media_id"
    assert (2, expected) == (said.code, said.err[: len(expected)])


# import: several lists, pipes, repetitions


def test_several_lists_are_one_import(cli: Cli, listed: List) -> None:
    """Several lists, of any formats, are counted together, and an unused column is named once."""
    first = listed("url,speaker", "https://e.org/1,A", "https://e.org/2,B", name="a.csv")
    second = listed(
        '{"url": "https://e.org/2", "speaker": "B"}', '{"url": "https://e.org/3"}', name="b.jsonl"
    )
    said = cli("import", first, second, "--json")
    assert (0, (4, 3, 0, 1, 0, 0)) == (said.code, sums(said))
    assert "valossa-ingest: column 'speaker' was not used\n" == said.err


def test_of_several_lists_none_goes_in_where_one_is_none(cli: Cli, listed: List) -> None:
    """A mistake in the last file's name or head is reported before the first is imported."""
    first = listed("url", "https://e.org/1", name="a.csv")
    for second in (listed("link", "x", name="b.csv"), listed(b"", name="c.csv"), "missing.csv"):
        assert 2 == cli("import", first, second).code
    assert [0] == cli.sql("SELECT count(*) FROM videos")


def test_a_pipe_is_read_beside_files(cli: Cli, listed: List) -> None:
    """The name ``-`` reads standard input, and its rejects have that name."""
    first = listed("url", "https://e.org/1")
    with standard_input(b"url\nhttps://e.org/2\nnonsense\n"):
        said = cli("import", first, "-", "--json")
    assert (1, (3, 2, 0, 0, 0, 1)) == (said.code, sums(said))
    assert "-:3: url: must begin with http" == said.err[:30]


def test_an_interrupted_import_goes_on_where_it_stopped(cli: Cli, listed: List) -> None:
    """The same command adds the rest of an interrupted import, and no row twice."""
    rows = [f"https://e.org/{number},{number}" for number in range(2_100)]
    cli("import", listed("url,media_id", *rows[:1_000]))
    said = cli("import", listed("url,media_id", *rows), "--json")
    assert (0, (2_100, 1_100, 0, 1_000, 0, 0)) == (said.code, sums(said))
    assert [(2_100, 2_100)] == cli.sql("SELECT count(*), count(DISTINCT url) FROM videos")


def test_rejects_are_told_in_the_order_of_the_list(cli: Cli, listed: List, tmp_path: Path) -> None:
    """Rejects of the list and of the table are written chunk by chunk, each row once.

    The next chunk is checked while one is written.
    """
    rows = (f"m-{n},fi-FI," if n % 2 else f"m-{n},,ftp://e.org/" for n in range(2_500))
    rejects = tmp_path / "rejects.jsonl"
    said = cli("import", listed("media_id,language,url", *rows), "--update", "--rejects", rejects)
    told = told_rejects(rejects)
    assert (1, 2_500) == (said.code, len({line for line, _ in told}))
    chunks = [[line for line, _ in told[start : start + 1_000]] for start in (0, 1_000, 2_000)]
    assert list(range(2, 2_502)) == [line for chunk in chunks for line in sorted(chunk)]


def test_a_chunk_from_a_pipe_is_in_the_queue_before_the_next_one_is_there(
    cli: Cli, tmp_path: Path, screen: Callable[..., Screen]
) -> None:
    """The rows of a slow program are in the queue before its next rows come."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rows = [f"https://e.org/{number}" for number in range(1_000)]
    program = screen("import", pipe, "--database", cli.url)
    with pipe.open("w") as stream:
        print("url", *rows, sep="\n", file=stream, flush=True)
        give_up = time.monotonic() + 30
        while [1_000] != cli.sql("SELECT count(*) FROM videos"):
            assert time.monotonic() < give_up
            time.sleep(0.02)
    assert 0 == program.ended()


@pytest.mark.parametrize("words", [(), ("--update",)])
def test_law_14_a_row_that_the_database_refuses_is_a_reject_alone(
    cli: Cli, listed: List, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The other rows of its chunk are in, and the report names its line and the cause."""
    rows = [f"https://e.org/{n},{'bad' if n in {0, 700} else 'good'}" for n in range(1_200)]
    rejects = tmp_path / "rejects.jsonl"
    file = listed("url,title", *rows)
    with refusing_bad_titles(cli):
        said = cli("import", file, "--json", "--rejects", rejects, *words)
    assert (1, (1_200, 1_198, 0, 0, 0, 2)) == (said.code, sums(said))
    told = told_rejects(rejects)
    assert [2, 702] == [line for line, _ in told]
    assert all("the database refuses to write this row: " in why for _, why in told)
    assert all("theirs" in why for _, why in told)
    assert [1_198] == cli.sql("SELECT count(DISTINCT url) FROM videos WHERE title = 'good'")


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_media_id_gets_one_address_in_a_list_of_many_chunks(
    cli: Cli, listed: List, words: tuple[str, ...]
) -> None:
    """The second address of an updated video is a reject in a later chunk too."""
    cli.insert(media_id="a")
    more = [f"https://e.org/{number},{number}" for number in range(1_000)]
    rows = ["https://e.org/a-1,a", *more, "https://e.org/a-2,a"]
    said = cli("import", listed("url,media_id", *rows), "--update", "--json", *words)
    assert (1, (1_002, 1_000, 1, 0, 0, 1)) == (said.code, sums(said))
    assert "has another address in this list already" in said.err


@pytest.mark.parametrize("words", [(), ("--update",)])
def test_a_dry_run_tells_what_the_real_run_does(
    cli: Cli, listed: List, words: tuple[str, ...]
) -> None:
    """A cancelled video with an earlier job or an open doubt is as little bought as in earnest; so
    is a row that brings the earlier job of a video.
    """
    address = "https://e.org/{}.mp4"
    for number in (1, 2, 3):
        job = {"job_id": f"j{number}", "state": "submitted"} if number != 2 else {"claims": 1}
        cli.insert(url=address.format(number), media_id=f"m{number}", **job)
    cli.sql("UPDATE videos SET state = 'cancelled', job_id = NULL")
    cli.sql(
        "INSERT INTO history (video_id, attempt, at, who, fact) "
        "VALUES (2, 1, '2026-01-01 00:00:00', 'w', 'in_doubt')"
    )
    rows = [f"{address.format(number)},m{number}," for number in (1, 2)]
    file = listed("url,media_id,job_id", *rows, "https://e.org/new.mp4,m9,j3")
    words = (*words, "--map", "job_id=job_id", "--json")
    dry = cli("import", file, "--dry-run", *words).json()
    real = cli("import", file, *words).json()
    assert {**real, "dry_run": True} == dry
    assert (0, 0) == (real["inserted"], real["brought_back"])


@pytest.mark.parametrize("column", ["request_id", "media_id"])
def test_a_dry_run_finds_a_video_by_the_identifier_that_it_is_sent_with(
    cli: Cli, listed: List, column: str
) -> None:
    """A video without a media id is named by its request id, which an export has for it."""
    cli.insert(request_id="ab" * 16)
    cli.insert(url="https://e.org/another.mp4")
    file = listed(f"url,{column}", f"https://e.org/corrected.mp4,{'ab' * 16}")
    dry = cli("import", file, "--update", "--dry-run", "--json").json()
    assert (0, 1) == (dry["inserted"], dry["updated"])
    assert {**cli("import", file, "--update", "--json").json(), "dry_run": True} == dry


def test_a_dry_run_of_a_queue_that_has_moved_is_refused(
    fresh: Cli, listed: List, tmp_path: Path
) -> None:
    """A dry run is refused where the real run is, with the place to which the queue has moved."""
    file = listed("url", "https://e.org/1.mp4")
    fresh.path.parent.mkdir()
    fresh("import", file)
    new = f"sqlite:///{tmp_path}/moved.db"
    assert 0 == fresh.bare("move", "--from", f"sqlite:///{fresh.path}", "--to", new).code
    dry, real = fresh("import", file, "--dry-run"), fresh("import", file)
    assert (78, "", real.err) == (dry.code, dry.out, dry.err)
    assert f"has moved to {new}" in dry.err


def test_a_long_list_is_judged_by_its_beginning(cli: Cli, listed: List) -> None:
    """JSON Lines without a url after the first chunk are rejected row by row."""
    rows = [{"url": f"https://e.org/{number}"} for number in range(1_000)]
    said = cli("import", listed(*map(json.dumps, [*rows, {"title": "A"}])), "--json")
    assert (1, (1_001, 1_000, 0, 0, 0, 1)) == (said.code, sums(said))
    assert {"url: is empty; give the address of the video file": 1} == said.json()["rejected"]


def test_one_kind_of_reject_is_one_line(cli: Cli, listed: List) -> None:
    """A thousand equal rejects are one number, and the first ten are printed."""
    said = cli("import", listed("url,priority", *(f"https://e.org/{n},p{n}" for n in range(1_000))))
    assert 1 == said.code
    assert ["database", "rows read", "added", "rejected, priority"] == [
        line.split("  ")[0].split(":")[0] for line in said.out.splitlines()
    ]
    assert "1000" == said.out.split()[-1]
    assert 11 == len(said.err.splitlines())
    assert "--rejects FILE keeps every reject with line and reason" in said.err


# import --update


def test_a_row_changes_only_the_columns_that_it_names(cli: Cli, listed: List) -> None:
    """An update of JSON Lines changes only the columns that the row itself has."""
    for name in ("a", "b", "c"):
        cli.insert(media_id=name, title=f"T-{name}", description=f"D-{name}")
    rows = [{"media_id": "a", "title": "new"}, {"media_id": "b", "description": None}]
    said = cli("import", listed(*map(json.dumps, rows)), "--update", "--json")
    assert (0, (2, 0, 2, 0, 0, 0)) == (said.code, sums(said))
    assert [("new", "D-a"), ("T-b", None), ("T-c", "D-c")] == cli.sql(
        "SELECT title, description FROM videos ORDER BY media_id"
    )


def test_an_empty_address_leaves_the_old_one(cli: Cli, listed: List) -> None:
    """An update with an empty url keeps the old url."""
    cli.insert(url="https://e.org/old", media_id="a")
    said = cli("import", listed("media_id,url,language", "a,,fi-FI"), "--update", "--json")
    assert (0, (1, 0, 1, 0, 0, 0)) == (said.code, sums(said))
    assert [("https://e.org/old", "fi-FI")] == cli.sql("SELECT url, language FROM videos")


def test_a_correction_for_nobody_is_a_reject(cli: Cli, listed: List, tmp_path: Path) -> None:
    """An update without a url for an unknown video is a reject."""
    file = listed("media_id,job_id", "a,job-1")
    said = cli("import", file, "--update", "--json", "--rejects", tmp_path / "rejects.jsonl")
    assert (1, (1, 0, 0, 0, 0, 1)) == (said.code, sums(said))
    told = json.loads((tmp_path / "rejects.jsonl").read_text(encoding="utf-8"))
    assert (2, {"media_id": "a", "job_id": "job-1"}) == (told["line"], told["row"])
    assert (
        "media_id: 'a' is not there, and the row brings no url; import the list" in told["reason"]
    )


def test_a_second_job_of_a_video_is_a_reject(cli: Cli, listed: List) -> None:
    """A second job id for one video is a reject, which says that it may be bought twice."""
    cli.insert(media_id="a")
    said = cli("import", listed("media_id,job_id", "a,job-1", "a,job-1", "a,job-2"), "--update")
    assert (1, "job-1") == (said.code, cli.row(1)["job_id"])
    assert (
        "list.csv:4: job_id: video 1 has job 'job-1' already, so it may be bought twice" in said.err
    )
    assert "1" == said.pairs()["left, media_id is there already, submitted"]


def test_a_list_of_jobs_settles_doubts(cli: Cli, listed: List) -> None:
    """An update with job ids settles doubts, also given-up ones, as a person's decision.

    A video without a media id is found by its request id.
    """
    doubt: dict[str, object] = {"state": "in_doubt", "claims": 1, "attempts": 1, "error": "lost"}
    cli.insert(media_id="a", title="as it was sent", **doubt)
    cli.insert(request_id="random", **doubt)
    cli.insert(media_id="given-up", **{**doubt, "state": "failed"})
    for video_id in (1, 2, 3):
        cli.sql(
            "INSERT INTO history (video_id, attempt, at, who, fact)"
            " VALUES (?, 1, '2026-01-01 00:00:00', 'w', 'in_doubt')",
            video_id,
        )
    file = listed("media_id,job_id,title", "a,job-1,new", "random,job-2,new", "given-up,job-3,new")
    assert 0 == cli("import", file, "--update").code
    assert [
        ("submitted", "job-1", None),
        ("submitted", "job-2", None),
        ("submitted", "job-3", None),
    ] == (cli.sql("SELECT state, job_id, error FROM videos ORDER BY id"))
    assert "as it was sent" == cli.row(1)["title"]
    assert ["job brought by import --update"] * 3 == cli.sql(
        "SELECT message FROM history WHERE fact = 'resolve' AND job_id IS NOT NULL"
    )
    told = cli("status", "--json").json()
    assert (3, 0) == (told["accepted_in_all"], told["possibly_bought_twice"])


def test_a_refused_list_is_mended_by_its_correction(cli: Cli, listed: List) -> None:
    """One update makes 500 failed rows due again, and records a retry for each."""
    failed = {"state": "failed", "error": "HTTP 400: language", "http_status": 400}
    cli.insert_many(
        {"url": f"https://e.org/{number}", "media_id": f"m-{number}", "claims": 1, **failed}
        for number in range(500)
    )
    file = listed("id,lang", *(f"m-{number},fi-FI" for number in range(500)))
    maps = ("--map", "media_id=id", "--map", "language=lang")
    said = cli("import", file, "--update", *maps)
    counts = {"database": named(cli), "rows read": "500", "added": "0", "updated": "500"}
    assert (0, counts) == (said.code, said.pairs())
    assert [("pending", "fi-FI", 0, None, None, 500)] == cli.sql(
        "SELECT state, language, attempts, error, http_status, count(*) FROM videos"
        " GROUP BY 1, 2, 3, 4, 5"
    )
    assert [("retry", 1, 500)] == cli.sql(
        "SELECT fact, attempt, count(*) FROM history GROUP BY 1, 2"
    )


def test_an_update_finds_a_video_without_a_media_id_by_its_request_id(
    cli: Cli, listed: List
) -> None:
    """An update finds a video without a media id by its request id, and adds none twice."""
    cli.insert_many({"url": f"https://e.org/{n}", "state": "failed"} for n in range(3))
    exported = cli("export", "--columns", "url,media_id,language,request_id").out
    mended = exported.replace("https://e.org/", "https://new.example/")
    said = cli("import", listed(*mended.splitlines()), "--update", "--json")
    assert (0, 3, 0) == (said.code, said.json()["updated"], said.json()["inserted"])
    assert ["pending"] * 3 == cli.sql("SELECT state FROM videos")
    fresh = [f"https://new.example/{n}" for n in range(3)]
    assert fresh == cli.sql("SELECT url FROM videos ORDER BY id")
    (name,) = cli.sql("SELECT request_id FROM videos WHERE id = 2")
    assert 0 == cli("import", listed("request_id,language", f"{name},fi-FI"), "--update").code
    assert [None, "fi-FI", None] == cli.sql("SELECT language FROM videos ORDER BY id")


def test_an_update_by_request_id_never_means_anothers_media_id(cli: Cli, listed: List) -> None:
    """A request id never matches another video's media id."""
    cli.insert(url="https://e.org/1", media_id="7", title="seven")
    said = cli("import", listed("request_id,url", "7,https://e.org/2"), "--update", "--json")
    assert (0, 1, 0) == (said.code, said.json()["inserted"], said.json()["updated"])
    assert ["https://e.org/1", "https://e.org/2"] == cli.sql("SELECT url FROM videos ORDER BY id")


def test_a_mapped_column_that_a_list_lacks_is_told_before_anything_is_taken(
    cli: Cli, listed: List
) -> None:
    """A list without a column of --map is refused before any row is imported."""
    file = listed("url,vid", "https://e.org/1,a")
    said = cli("import", file, "--map", "media_id=video_id")
    told = f"{file} has no column 'video_id' for media_id; it has url, vid"
    assert (2, f"valossa-ingest: {told}\n") == (said.code, said.err)
    assert [0] == cli.sql("SELECT count(*) FROM videos")


def test_a_mapped_name_that_no_row_has_is_told(cli: Cli, listed: List) -> None:
    """A column of --map that no JSON row has is named at the end."""
    file = listed('{"url": "https://e.org/1", "vid": "a"}', '{"url": "https://e.org/2"}')
    assert "no row has" not in cli("import", file, "--map", "media_id=vid").err
    said = cli("import", file, "--map", "media_id=video_id")
    assert "valossa-ingest: no row has a 'video_id' for media_id\n" in said.err


def test_a_reason_says_no_number_that_is_not_so(cli: Cli, listed: List) -> None:
    """A reason for many rows leaves out the numbers that differ between them."""
    said = cli("import", listed("url", "https://e.org/1", b"https://e.org/\xe9"))
    assert "rejected, line … is not UTF-8 at byte …; try --encoding cp1252" in said.out


# import: links, signatures, jobs, names as lists bring them


def test_a_link_is_cleaned_and_that_is_counted(cli: Cli, listed: List) -> None:
    """One address in three spellings is one video; characters that were taken off are counted."""
    file = listed(
        "url,transcript_url",
        "https://e.org/1.mp4,\u200bhttps://e.org/1.srt",
        "\u200bhttps://e.org/1.mp4\ufeff,",
        "<https://e.org/1.mp4>,",
        "HTTPS://E.ORG:443/1.mp4,",
        "https://e.org/2\u2060.mp4,",
        "https://e.org/3?a=1&amp;b=2,",
    )
    said = cli("import", file, "--json")
    assert (1, (6, 2, 0, 3, 0, 1)) == (said.code, sums(said))
    assert ["https://e.org/1.mp4", "https://e.org/3?a=1&b=2"] == cli.sql("SELECT url FROM videos")
    assert "https://e.org/1.srt" == cli.row(1)["transcript_url"]
    assert "list.csv:6: url: holds U+2060 inside" in said.err
    counted = {
        "transcript_url: U+200B taken off": 1,
        "url: U+200B taken off": 1,
        "url: U+FEFF taken off": 1,
        "url: U+003C taken off": 1,
        "url: U+003E taken off": 1,
        "url: &amp; or \\u0026 made &": 1,
    }
    assert counted == said.json()["notes"]
    assert "valossa-ingest: url: U+FEFF taken off (rows: 1)\n" in said.err


def test_add_cleans_a_link_too(cli: Cli) -> None:
    """``add`` takes invisible characters off and says so, and refuses them inside."""
    said = cli("add", "\u200bhttps://e.org/1.mp4")
    assert (0, "1\n") == (said.code, said.out)
    assert "valossa-ingest: url: U+200B taken off\n" in said.err
    assert "https://e.org/1.mp4" == cli.row(1)["url"]
    said = cli("add", "https://e.org/\u202e2.mp4")
    assert (2, True) == (said.code, "url: holds U+202E inside" in said.err)


def test_a_new_signature_each_night_adds_nothing(cli: Cli, listed: List) -> None:
    """Links signed anew are those of videos that are there, and the report says how many."""
    first = listed("url", *(f"https://e.org/{n}.mp4?{s3_v2(in_days(2))}" for n in range(12)))
    assert 0 == cli("import", first).code
    again = listed("url", *(f"https://e.org/{n}.mp4?{s3_v2(in_days(3))}" for n in range(12)))
    said = cli("import", again)
    assert (0, "0") == (said.code, said.pairs()["added"])
    assert "12 look like videos that are there already under another signature" in said.err
    link = f"https://e.org/1.mp4?{s3_v2(in_days(4))}"
    assert "under another signature" in cli("add", link, "--json").json()["skipped"]
    assert 0 == cli("add", link, "--allow-duplicates").code
    said = cli("import", again, "--update", "--json")
    assert (12, 0) == (said.json()["rows"], said.json()["inserted"])
    assert said.json()["updated"] == 13 - sum(said.json()["left"].values())


def test_every_report_names_the_database(cli: Cli, listed: List) -> None:
    """An import names the database that it fills, and says so where it was empty."""
    file = listed("url", "https://e.org/1.mp4")
    assert f"{named(cli)}, empty until now" == cli("import", file).pairs()["database"]
    assert named(cli) == cli("import", file).pairs()["database"]
    assert named(cli) == cli("import", file, "--json").json()["database"]
    assert named(cli) == cli("add", "https://e.org/2.mp4", "--json").json()["database"]
    assert named(cli) in cli("add", "https://e.org/3.mp4").err


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_queue_of_pruned_videos_is_not_empty(
    cli: Cli, listed: List, words: tuple[str, ...]
) -> None:
    """A report calls no queue empty that knows what was bought and pruned."""
    file = listed("url", "https://e.org/1")
    cli.insert(
        url="https://e.org/1",
        state="submitted",
        job_id="j",
        **dict.fromkeys(("created_at", "updated_at", "submitted_at"), "2020-01-01 00:00:00"),
    )
    assert 0 == cli("prune", "--older-than", "30d", "--yes", WORKER_FOLLOW="off").code
    assert named(cli) == cli("import", file, *words).pairs()["database"].split(";")[0]


def test_a_column_of_the_senders_own_named_job_id_hands_nothing_in(cli: Cli, listed: List) -> None:
    """A list's own job_id is an unused column, which is counted; by --map it is the API's."""
    file = listed("url,job_id", "https://e.org/1.mp4,4711", "https://e.org/2.mp4,4712")
    said = cli("import", file)
    assert ["pending"] * 2 == cli.sql("SELECT state FROM videos")
    assert "job_id not taken" in said.err
    assert "--update --map job_id=job_id takes it (rows: 2)" in said.err
    said = cli("import", file, "--update", "--json")
    assert (2, 2) == (said.json()["updated"], sum(said.json()["notes"].values()))
    assert ["pending"] * 2 == cli.sql("SELECT state FROM videos")
    assert 0 == cli("import", file, "--update", "--map", "job_id=job_id").code
    assert ["4711", "4712"] == cli.sql("SELECT job_id FROM videos ORDER BY id")


def test_an_export_of_another_queue_keeps_its_jobs(cli: Cli, listed: List) -> None:
    """The rows of an export are handed in already, in CSV and in JSON Lines."""
    cli.insert(state="submitted", job_id="j-1", submitted_at="2026-01-01 00:00:00")
    for flags in ([], ["--json-lines"], ["--columns", "url,job_id,submitted_at"]):
        exported = cli("export", *flags).out
        cli.sql("DELETE FROM videos")
        assert 0 == cli("import", listed(*exported.splitlines())).code
        assert [("submitted", "j-1")] == cli.sql("SELECT state, job_id FROM videos")


NO_LINK = "must begin with http:// or https:// or valossaupload:// or file://"


def test_a_doubt_that_was_given_up_is_bought_by_no_other_queue(
    cli: Cli, fresh: Cli, listed: List
) -> None:
    """The export of a video that was given up in doubt is rejected by another database."""
    cli.insert(state="in_doubt", claims=1)
    assert 0 == cli("resolve", "1", "--give-up").code
    fresh.path.parent.mkdir()
    said = fresh("import", listed(cli("export").out.encode()))
    assert (1, [0]) == (said.code, fresh.sql("SELECT count(*) FROM videos"))
    assert "perhaps bought; settle it where it was exported first" in said.err


def test_rows_that_were_passed_over_are_kept_with_their_reason(
    cli: Cli, listed: List, tmp_path: Path
) -> None:
    """--rejects keeps rejected, skipped and left rows, each with its kind and its reason."""
    cli.insert(url="https://e.org/1.mp4", media_id="a")
    cli.insert(url="https://e.org/2.mp4", media_id="b", state="submitted", job_id="j")
    rows = ("https://e.org/1.mp4,c", "https://e.org/3.mp4,b", "nonsense,d", "https://e.org/4.mp4,e")
    rejects = tmp_path / "rejects.jsonl"
    said = cli("import", listed("url,media_id", *rows), "--update", "--rejects", rejects)
    kept = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert {
        (2, "skipped", "same url as a video that is there already: video 1"),
        (3, "left", "media_id is there already, submitted: video 2"),
        (4, "rejected", f"url: {NO_LINK}; for a local file write its path, which must be there"),
    } == {(each["line"], each["kind"], each["reason"]) for each in kept}
    assert {"url": "https://e.org/1.mp4", "media_id": "c"} == kept[1]["row"]
    assert (1, "") == (said.code, said.err)
    said = cli("import", listed("url", *(["https://e.org/1.mp4"] * 3)))
    assert ("3 skipped; --rejects FILE keeps them", "") == (said.pairs()["not shown"], said.err)


def test_a_link_of_plain_sql_is_cleaned_by_its_export(cli: Cli, listed: List) -> None:
    """A row that failed for what stands around its link is mended by export and import --update,
    unless another video has the address.
    """
    cli.insert(url="\u200bhttps://e.org/1.mp4", state="failed", error="url: needs U+200B taken off")
    cli.insert(url="https://e.org/2.mp4\xa0", state="failed", error="url: needs U+00A0 taken off")
    cli.insert(url="https://e.org/2.mp4")
    exported = cli("export", "--state", "failed").out
    said = cli("import", listed(*exported.splitlines()), "--update", "--json")
    assert (0, 1, 1) == (said.code, said.json()["updated"], sum(said.json()["left"].values()))
    assert ("https://e.org/1.mp4", "pending") == (cli.row(1)["url"], cli.row(1)["state"])
    assert "failed" == cli.row(2)["state"]


def test_a_wrong_first_import_is_mended(cli: Cli, listed: List) -> None:
    """Rows that were cancelled come back by importing the right list, and that is counted."""
    wrong = listed("url,title", "https://e.org/1.mp4,wrong", "https://e.org/2.mp4,wrong")
    assert 0 == cli("import", wrong).code
    assert 0 == cli("cancel", "--state", "pending", "--yes").code
    right = listed("url,title,media_id", "https://e.org/1.mp4,right,a", "https://e.org/3.mp4,new,b")
    said = cli("import", right)
    assert ("1", "1") == (said.pairs()["added"], said.pairs()["cancelled, pending again"])
    assert [("right", "a", "pending"), ("wrong", None, "cancelled"), ("new", "b", "pending")] == (
        cli.sql("SELECT title, media_id, state FROM videos ORDER BY id")
    )
    said = cli("add", "https://e.org/2.mp4")
    assert (0, "2\n") == (said.code, said.out)
    assert "it was cancelled, and is pending again in" in said.err


def test_rounded_media_ids_are_rejects(cli: Cli, listed: List) -> None:
    """Media ids that a spreadsheet has rounded are rejects, and other rows go in."""
    rows = ('https://e.org/1.mp4,"1,23457E+17"', 'https://e.org/2.mp4,"1,23457E+17"')
    said = cli("import", listed("url,media_id", *rows, "https://e.org/3.mp4,007"), "--json")
    assert (1, (3, 1, 0, 0, 0, 2)) == (said.code, sums(said))
    assert "list.csv:2: media_id: '1,23457E+17' is a number that a spreadsheet" in said.err
    said = cli("import", listed("url,media_id", "https://e.org/4.mp4,7"))
    assert "list.csv:2: media_id: '7' is there already with other leading zeros" in said.err
    said = cli("add", "https://e.org/4.mp4", "--media-id", "7")
    assert (1, True) == (said.code, "other leading zeros" in said.err)


# import on a terminal


def test_a_terminal_sees_the_import_grow(
    url: str, listed: List, screen: Callable[..., Screen]
) -> None:
    """On a terminal an import shows its counts while it runs, then the result."""
    file = listed("url", *(f"https://e.org/{number}.mp4" for number in range(1_500)))
    program = screen("import", file, "--database", url)
    assert 0 == program.ended()
    assert f"{file}: 1,500 added, 0 updated, 0 skipped, 0 rejected" in program.shown
    assert "rows read  1500\nadded      1500\n" in program.shown


@pytest.mark.parametrize("columns", [120, 80, 50])
def test_a_terminal_of_any_width_shows_long_reasons(
    url: str, listed: List, screen: Callable[..., Screen], columns: int
) -> None:
    """A reject's reason that is wider than the terminal is wrapped beside its number."""
    file = listed("url", "https://e.org/a.mp4", "https://archive.org/details/a")
    program = screen("import", file, "--rejects", "/dev/null", "--database", url, columns=columns)
    assert 1 == program.ended()
    shown = program.shown[program.shown.index("rows read") :]
    (reject,) = (line for line in shown.splitlines() if line.startswith("rejected, url: is a"))
    assert ("1", True) == (reject.split()[-1], len(reject) <= columns)


def test_ctrl_c_ends_an_import_that_waits_for_its_list(
    cli: Cli, tmp_path: Path, screen: Callable[..., Screen]
) -> None:
    """Ctrl-C ends an import from a slow pipe; the rows read so far are in the queue."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rows = [f"https://e.org/{number:0>60}" for number in range(3_000)]
    program = screen("import", pipe, "--database", cli.url)
    with pipe.open("w") as stream:
        print("url", *rows, sep="\n", file=stream, flush=True)  # returns when most was read
        assert 130 == program.interrupt()
    assert "stopped; what was read so far is in the queue" in program.shown
    stored = cli.sql("SELECT url FROM videos ORDER BY id")
    assert rows[: len(stored)] == stored
    assert 1_000 == min(1_000, len(stored))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "what was read so far is in the queue; the same command goes on"),
        (["--allow-duplicates", "--batch", "a b"], "put it away first with cancel --batch 'a b'"),
        (["--allow-duplicates", "--update"], "the same command goes on"),
        (["--allow-duplicates", "--dry-run"], "a dry run writes nothing into the queue"),
    ],
)
def test_an_interrupted_import_says_the_way_on(
    url: str, tmp_path: Path, screen: Callable[..., Screen], words: list[str], told: str
) -> None:
    """The same command goes on where it takes no row again; where it would, another way is told."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    rows = [f"https://e.org/{number:0>60}" for number in range(3_000)]
    program = screen("import", pipe, "--database", url, *words, columns=500)
    with pipe.open("w") as stream:
        print("url", *rows, sep="\n", file=stream, flush=True)  # returns when most was read
        assert 130 == program.interrupt()
    assert told in program.shown
    assert ("cancel" in told) != ("the same command goes on" in program.shown or "dry" in told)


def test_a_chunk_of_long_rows_is_a_short_one() -> None:
    """A chunk ends after 8 MiB, however few rows it has."""
    line = b"https://e.org/a," + (1 << 19) * b"x" + b"\n"
    reading = read(io.BytesIO(b"url,title\n" + 40 * line))
    sizes = [len(next_chunk(reading, StopSignal(heard=-1))) for _ in range(4)]
    assert [16, 16, 8, 0] == sizes


def test_ctrl_c_ends_an_import_before_its_first_line(
    url: str, tmp_path: Path, screen: Callable[..., Screen]
) -> None:
    """Ctrl-C ends an import that has read nothing, without a message."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = screen("import", pipe, "--database", url)
    with pipe.open("wb"):
        assert 130 == program.interrupt()
    assert "" == program.shown.replace("^C", "").strip()

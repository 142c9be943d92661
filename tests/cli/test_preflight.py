import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli, Said, refusing
from worker.simulator import Options, Simulator

KEY = "sk-0123456789abcdef"
FILE = "https://host.example/talk.mp4"
PAGE = "https://www.youtube.com/watch?v=AAAAAAAAAAA"
ENDED = "https://host.example/ended.mp4?Signature=S&Expires=1367619688&AWSAccessKeyId=A"

Start = Callable[[Options], Beside]
Write = Callable[..., Path]


def say(cli: Cli, url: str, *words: str) -> Said:
    """Drain with the API at ``url``; assert that no key is printed (law 11)."""
    variables = {"WORKER_API_URL": url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "1000"}
    said = cli("drain", *words, WORKER_LOG_FORMAT="json", **variables)
    assert KEY not in said.out + said.err
    return said


def table(cli: Cli) -> list[object]:
    """Return every row of every table that an import or a drain may write."""
    return [cli.sql(f"SELECT * FROM {name}") for name in ("videos", "history", "account")]


def warned(said: Said) -> list[object]:
    """Return of how many videos the log says that the API lists them."""
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    return [line["videos"] for line in lines if line.get("event") == "list_has_ours"]


def test_preflight_names_the_rows_the_reason_and_the_way_out(cli: Cli) -> None:
    """``preflight`` judges the pending videos, or those of its filters, and changes nothing."""
    urls = (FILE, PAGE, ENDED, "http://host.example/a.mp4", PAGE, f"{FILE}?token=T")
    ids = [cli.insert(url=url) for url in urls]
    cli.sql("UPDATE videos SET state = 'failed' WHERE id = ?", ids[4])
    before = table(cli)
    said = cli("preflight", "--json")
    assert (1, 5) == (said.code, said.json()["judged"])
    named = {f["reason"]: (f["weight"], f["number"], f["rows"]) for f in said.json()["found"]}
    assert {
        "url: is a page of youtube.com, not a file": ("surely wasted", 1, [ids[1]]),
        "url: signed link ended": ("surely wasted", 1, [ids[2]]),
        "url: is plain http": ("probably wasted", 1, [ids[3]]),
        "url: is the object of an earlier row, under another signature": ("look", 1, [ids[5]]),
    } == named
    told = cli("preflight")
    remedy = f"give the address of the video file itself ({ids[1]})"
    assert f"surely wasted, 1: url: is a page of youtube.com, not a file; {remedy}" in told.out
    assert "5 judged, 2 surely wasted\n" in told.out
    assert [1, 0, 1] == [
        cli("preflight", *words).code for words in (["--state", "failed"], [f"id={ids[0]}"], ["x"])
    ]
    assert before == table(cli)


def test_an_import_refuses_what_is_surely_wasted_and_counts_the_rest(
    cli: Cli, listed: Write, tmp_path: Path
) -> None:
    """A row that is surely wasted becomes a reject, unless --allow-wasted; others are counted."""
    file = listed("url,job_id", FILE, PAGE, ENDED, "http://a.example/talk.avi", f"{PAGE}b,job-1")
    rejects = tmp_path / "rejects.jsonl"
    said = cli("import", file, "--rejects", rejects, "--map", "job_id=job_id", "--json")
    assert (1, 3, 2) == (said.code, said.json()["inserted"], sum(said.json()["rejected"].values()))
    assert [f"{file}:5"] == said.json()["found"][0]["rows"]
    kept = {
        line["line"]: line["reason"] for line in map(json.loads, rejects.read_text().splitlines())
    }
    assert kept[3].endswith("give the address of the video file itself, or --allow-wasted")
    assert "sign it anew" in kept[4]
    said = cli("import", file, "--allow-wasted")
    assert (0, "2") == (said.code, said.pairs()["added"])
    doubt = listed("url,media_id,state", f"{FILE}?v=9,x,in_doubt", name="doubt.csv")
    assert 1 == cli("import", doubt, "--allow-wasted").code
    assert 2 == cli("add", PAGE.replace("AA", "BB")).code
    assert 0 == cli("add", PAGE.replace("AA", "BB"), "--allow-wasted").code


def test_a_list_as_people_have_them_is_sorted_into_wasted_and_not(cli: Cli, listed: Write) -> None:
    """Of a list with flaws of many kinds every ended link and page is found, and no file is."""
    s3 = "http://s3.host.example/talks/{}.mp4{}"
    signed = "?Signature=EXAMPLE&Expires={}&AWSAccessKeyId=EXAMPLE"
    right = [
        *(s3.format(number, "") for number in range(40)),
        *(f"https://archive.org/download/item{n}/item%20{n}.ogv" for n in range(40)),
        *(f"http://mirror.host.example/pub/2014/{n}-out.ogv" for n in range(40)),
        *(f"https://ftp.host.example/K.1.105%20(La%20Fontaine)/{n}.webm" for n in range(4)),
        *(s3.format(f"later{n}", signed.format(4_102_444_800 + n)) for n in range(10)),
    ]
    ended = [s3.format(n, signed.format(1_367_619_688 + n)) for n in range(100, 250)]
    pages = [
        *(f"https://www.youtube.com/watch?v=A-u8XHAU{n}" for n in range(100, 200)),
        *(f"https://archive.org/details/item_{n}___talk" for n in range(100)),
        *(f"https://archive.org/details/item_{n}/talk.mp4" for n in range(100, 120)),
    ]
    rows = [row for three in zip(right + [""] * 86, ended + [""] * 70, pages, strict=False)
            for row in three if row]  # fmt: skip
    file = listed("url", *rows)
    taken = [row for row in right if row in rows]
    said = cli("import", file, "--json")
    assert taken == cli.sql("SELECT url FROM videos ORDER BY id")
    told = Counter({reason.split("; ")[0]: n for reason, n in said.json()["rejected"].items()})
    assert {
        "url: signed link ended": len(ended),
        "url: is a page of youtube.com, not a file": 100,
        "url: is a page of archive.org, not a file": 120,
    } == told


QUEUE = (
    {"url": FILE, "media_id": "a", "state": "pending"},
    {"url": f"{FILE}?v=2", "media_id": "b", "state": "cancelled"},
    {"url": f"{FILE}?v=3", "media_id": "007", "state": "failed"},
)
LIST = (
    "media_id,url",
    f"a,{FILE}",
    f"b2,{FILE}?v=2",
    f"7,{FILE}?v=4",
    f"c,{FILE}?v=5",
    f"007,{FILE}?v=33",
    *(f"m{number},https://e.example/{number % 1_100}.mp4" for number in range(1_200)),
    f"c,{FILE}?v=6",
    f"d,{PAGE}",
)


@pytest.mark.parametrize("flags", [[], ["--update"], ["--allow-duplicates"]])
def test_a_dry_run_says_what_the_import_then_does(
    cli: Cli, listed: Write, flags: list[str]
) -> None:
    """``import --dry-run`` counts as the import does, and leaves the queue as it was."""
    cli.insert_many(QUEUE)
    before, file = table(cli), listed(*LIST)
    tried = cli("import", file, "--dry-run", "--json", *flags)
    assert before == table(cli)
    done = cli("import", file, "--json", *flags)
    assert tried.json() == {**done.json(), "dry_run": True}
    assert (tried.code, tried.err) == (done.code, done.err)
    assert before != table(cli)


def test_a_dry_run_makes_no_database(fresh: Cli, listed: Write) -> None:
    """``import --dry-run`` names the queue that is meant, and does not make it."""
    said = fresh("import", listed("url", FILE), "--dry-run")
    assert (0, "1") == (said.code, said.pairs()["added"])
    told = f"{fresh.shown}, empty until now; a dry run, which writes nothing there"
    assert told == said.pairs()["database"]
    assert not fresh.path.exists()


def test_a_dry_run_of_a_drain_claims_and_sends_nothing(cli: Cli) -> None:
    """``drain --dry-run`` says what it would buy, from where, how long and what the caps leave."""
    for number in range(3):
        cli.insert(url=f"https://host.example/{number}.mp4")
    cli.insert(url=PAGE)
    cli.insert(url=FILE, due_at="2100-01-01 00:00:00")
    before = table(cli)
    with refusing(500, "nobody is asked", {}) as url:
        given = {"WORKER_API_URL": url, "WORKER_RATE": "2", "WORKER_MAX_PER_DAY": "3"}
        said = cli("drain", "--dry-run", **given)
        assert (
            said.pairs() | {"to buy": "4", "from": "host.example 3, youtube.com 1"} == said.pairs()
        )
        assert ("2 s", "3", "1") == tuple(
            said.pairs()[name] for name in ("at this pace", "max_per_day leaves", "surely wasted")
        )
        told = cli("drain", "--dry-run", "--limit", "2", "--json", **given)
    assert (0, 2) == (told.code, told.json()["to_buy"])
    assert ["url: is a page of youtube.com, not a file"] == [
        each["reason"] for each in told.json()["found"]
    ]
    assert before == table(cli)


@pytest.mark.parametrize(
    ("words", "variables", "problem"),
    [
        (("--config", "no.toml"), {}, "the settings file no.toml (--config) cannot be read"),
        ((), {"WORKER_RATE": "abc"}, "rate = 'abc' (WORKER_RATE): must be a whole number"),
        ((), {"WORKER_MAX_PER_DAYS": "5"}, "WORKER_MAX_PER_DAYS is no setting: did you mean"),
    ],
)
def test_a_dry_run_of_a_drain_names_what_is_wrong(
    cli: Cli, words: tuple[str, ...], variables: dict[str, str], problem: str
) -> None:
    """``drain --dry-run`` foretells nothing by the defaults of settings that are wrong."""
    said = cli("drain", "--dry-run", *words, **variables)
    assert (78, "", True) == (said.code, said.out, f"valossa-ingest: {problem}" in said.err)


@pytest.fixture
def simulator(beside: Start) -> Iterator[Simulator]:
    """Yield an API that takes the key."""
    with beside(Options(keys=frozenset({KEY}))) as started:
        yield started


@pytest.mark.parametrize("words", [(), ("--progress", "json")])
def test_a_fresh_database_is_told_what_the_api_has_already(
    cli: Cli, simulator: Simulator, words: tuple[str, ...]
) -> None:
    """A list of jobs that shows our videos is said before the first send, also beside a display,
    and the run goes on.
    """
    for number in range(3):
        cli.insert(url=f"https://host.example/{number}.mp4", media_id=f"m{number}")
    assert [] == warned(say(cli, simulator.url))
    cli.sql("DELETE FROM history")
    cli.sql(
        "UPDATE videos SET state = 'pending', job_id = NULL, submitted_at = NULL, claims = 0,"
        " attempts = 0"
    )
    cli.insert(url=FILE)
    said = say(cli, simulator.url, *words)
    assert (0, [3], 7) == (said.code, warned(said), len(simulator.accepted))
    cli.insert(url=f"{FILE}?v=2")
    assert [] == warned(say(cli, simulator.url))


def test_a_list_that_cannot_be_read_stops_nothing(cli: Cli, beside: Start) -> None:
    """A drain of a fresh database goes on where the API shows no list."""
    with beside(Options(keys=frozenset({KEY}), listing=("proxy-502",))) as simulator:
        cli.insert()
        said = say(cli, simulator.url)
    assert (0, [], 1) == (said.code, warned(said), len(simulator.accepted))

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Beside, Cli, Screen
from worker.cli.commands.export import EXPORTED
from worker.core.model import State
from worker.db.schema import videos
from worker.simulator import Options
from worker.store import search

SECRET = "sk-0123456789abcdef"
CLAIM = {"claim_token": "t", "claimed_by": "w-1", "lease_until": "2030-01-01 00:00:00"}
Start = Callable[[Options], Beside]


def in_each_state(cli: Cli) -> dict[str, int]:
    """Insert a video in every state; return the ids by state."""
    return {
        state.value: cli.insert(
            media_id=f"talk-{state}",
            state=state.value,
            job_id="job-1" if state is State.SUBMITTED else None,
            request_id=f"request-{state}",
            attempts=1,
            claims=1,
            error=f"error of {state}",
            **CLAIM,
        )
        for state in State
    }


def tell(cli: Cli, video_id: int, attempt: int, fact: str, **more: object) -> None:
    """Insert a fact of the history."""
    columns = {
        "video_id": video_id,
        "attempt": attempt,
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
        "who": "w-1",
        "fact": fact,
        **more,
    }
    marks = ", ".join("?" * len(columns))
    cli.sql(f"INSERT INTO history ({', '.join(columns)}) VALUES ({marks})", *columns.values())


def stamp(seconds: float) -> str:
    """Return a moment that many seconds from now, as the tables keep it."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S.%f}"


def iso(stamped: str) -> str:
    """Return the same moment, as JSON documents have it."""
    return f"{stamped.replace(' ', 'T')}Z"


def moment(text: str) -> datetime:
    """Return a moment of a JSON document."""
    return datetime.fromisoformat(text)


NO_WORKER = "; no living worker names its own"

# status


def test_status_of_an_empty_queue_is_all_zeros(cli: Cli) -> None:
    """Every number is there from the first day, and nothing needs a person."""
    said = cli("status", "--json")
    assert (0, "") == (said.code, said.err)
    zeros = (*State, "due_now", "accepted_today", "accepted_this_month", "accepted_in_all")
    zeros = (*zeros, "due_later", "possibly_bought_twice", "workers_alive")
    expected: dict[str, object] = {str(name): 0 for name in zeros}
    unset = ("max_per_day", "max_per_day_opens", "max_total")
    nothing = (
        *unset,
        "oldest_due",
        "paused_since",
        "pause_reason",
        "cool_down_until",
        "cool_down_reason",
    )
    expected |= dict.fromkeys((*nothing, "time_left", "all_handed_in_by"))
    expected |= dict.fromkeys(("lowered_at", "lowered_reason"))
    nothing_yet = ("daemon_turned_at", "last_answer", "today", "moved_to")
    expected |= dict.fromkeys((*nothing_yet, "jobs", "held_hosts", "to_upload"))
    expected |= {"pace": "1 per 1 s", "pace_from": f"the setting (default){NO_WORKER}"}
    expected |= {"batches": {}}
    expected |= {"perhaps_bought": 0, "money": None}
    calm = {"state": "idle", "sentence": "idle: nothing is due", "needs": []}
    expected["verdict"] = {**calm, **dict.fromkeys(("since", "until", "remedy"))}
    assert expected == said.json()


def test_status_counts_what_there_is(cli: Cli) -> None:
    """States, what is due and since when, what was bought, and what may have been bought twice."""
    in_each_state(cli)
    cli.insert(due_at=stamp(900))
    cli.insert(due_at="2020-01-01 00:00:00")
    for attempt, fact, job_id in ((1, "in_doubt", None), (2, "accepted", "job-1")):
        tell(cli, 3, attempt, fact, job_id=job_id)
    tell(cli, 9, 1, "accepted", job_id="job-0", at="2020-01-01 00:00:00")
    told = cli("status", "--json").json()
    expected: dict[str, object] = {str(state): 1 for state in State}
    expected |= {"pending": 3, "due_now": 2, "oldest_due": "2020-01-01T00:00:00Z"}
    expected |= {"accepted_today": 1, "accepted_this_month": 1, "accepted_in_all": 2}
    expected |= {"possibly_bought_twice": 1}
    assert expected == {name: told[name] for name in expected}


def test_status_shows_the_caps(cli: Cli) -> None:
    """``status`` shows the use of each cap and when one opens."""
    bought = stamp(-3600)
    for number in range(3):
        tell(cli, 1 + number, 1, "accepted", job_id=f"job-{number}", at=bought)
    cli.insert()
    room = {"WORKER_MAX_PER_DAY": "4", "WORKER_MAX_TOTAL": "9"}
    told = cli("status", "--json", **room).json()
    assert (
        {"used": 3, "allowed": 4, "room": 1},
        {"used": 3, "allowed": 9, "room": 6},
        None,
    ) == (
        told["max_per_day"],
        told["max_total"],
        told["max_per_day_opens"],
    )
    assert told["time_left"] is not None
    said = cli("status", WORKER_MAX_PER_DAY="3")
    opens = datetime.fromisoformat(bought) + timedelta(days=1)
    full = f"3 used, 3 allowed, 0 room, opens {opens:%Y-%m-%d %H:%M:%S}"
    assert full == said.pairs()["max per day"]
    assert not {"max total", "time left"} & {*said.pairs()}
    until = f"until {opens:%Y-%m-%d %H:%M:%S} UTC: wait, or raise it"
    assert f"max_per_day = 3 is reached {until}" in said.out.splitlines()


def test_status_counts_in_money(cli: Cli) -> None:
    """With a price, what was bought and perhaps bought is shown in money too."""
    in_each_state(cli)
    for number in range(2):
        tell(cli, 3, number, "accepted", job_id=f"job-{number}")
    said = cli("status", WORKER_PRICE_PER_VIDEO="1.5", WORKER_CURRENCY="USD")
    sums = "3.00 USD today, 3.00 USD this month, 3.00 USD in all, 1.50 USD perhaps"
    shown = f"2, 2 this month, 2 in all, perhaps 1 more, in money {sums}"
    assert shown == said.pairs()["accepted today"]
    assert "money" not in cli("status").out


def test_status_has_at_most_twenty_lines(cli: Cli) -> None:
    """The fullest queue has twenty lines with values, and none without one."""
    in_each_state(cli)
    cli.insert(due_at=stamp(900))
    tell(cli, 3, 1, "accepted", job_id="j", message="m")
    tell(cli, 3, 2, "throttled", message="HTTP 429")
    tell(cli, 3, 3, "in_doubt")
    until = stamp(600)
    cli.sql(
        "UPDATE account SET cool_down_until = ?, cool_down_reason = 'r', paused_at = ?,"
        " pause_reason = 'r', pace_low = 0.1, pace_ceiling = 0.1, pace_cut_at = ?, moved_to = 'x',"
        " bought_twice = 3",
        *(until, stamp(-9), until),
    )
    said = cli("status", WORKER_MAX_PER_DAY="9", WORKER_MAX_TOTAL="9", WORKER_PRICE_PER_VIDEO="1")
    lines = said.out.split("\n\n")[0].splitlines()
    assert 20 >= len(lines) - 1 >= 18
    assert [] == [line for line in lines if line.endswith(("  0", "  -"))]


@pytest.mark.parametrize(
    ("rows", "code", "word"),
    [
        ({}, 0, "idle"),
        ({"state": "failed"}, 1, "needs a person"),
        ({"state": "pending"}, 1, "not running"),
        ({"state": "pending", "due_at": "2999-01-01 00:00:00"}, 0, "waiting"),
    ],
)
def test_a_script_can_ask_for_the_verdict(
    cli: Cli, rows: dict[str, str], code: int, word: str
) -> None:
    """``status --check`` prints the verdict and the ways out, and exits by it."""
    if rows:
        cli.insert(**rows)
    said = cli("status", "--check")
    assert (code, True) == (said.code, said.out.startswith(f"{word}: "))
    assert "pace from" not in said.out
    told = cli("status", "--check", "--json")
    assert (code, word) == (told.code, told.json()["verdict"]["state"])


def test_status_asks_nobody_to_raise_what_is_only_reserved(cli: Cli) -> None:
    """A cap that a claim may free again is not called reached."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": stamp(60)}
    cli.insert(state="submitting", claims=1, **claim)
    cli.insert()
    said = cli("status", WORKER_MAX_TOTAL="1")
    assert "1 used, 1 allowed, 0 room" == said.pairs()["max total"]
    assert "is reached" not in said.out


def test_status_says_what_needs_a_person_and_the_commands_for_it(cli: Cli) -> None:
    """Failures and doubts are not left as bare numbers."""
    in_each_state(cli)
    cli.insert(state="failed")
    said = cli("status")
    assert {"failed": "2", "in doubt": "1"}.items() <= said.pairs().items()
    assert "1, the oldest since 20" == said.pairs()["due now"][:22]
    start, failed, doubts = (line for line in said.out.splitlines() if "valossa-ingest" in line)
    assert "valossa-ingest run, or valossa-ingest drain" == start
    assert "2 failed: valossa-ingest " == failed[:25]
    assert "1 in doubt, perhaps bought: valossa-ingest list" == doubts[:47]
    assert "retry ID --may-buy-twice" in doubts


def test_status_shows_a_lowered_pace_a_cool_down_and_a_pause(cli: Cli) -> None:
    """A lowered pace, a cool-down and a pause are shown."""
    cli.insert()
    until = stamp(600)
    cli.sql(
        "UPDATE account SET cool_down_until = ?, cool_down_reason = 'HTTP 429',"
        " pace_low = 2, pace_ceiling = 8, pace_cut_at = ?",
        until,
        until,
    )
    told = cli("status", "--json", WORKER_RATE="10").json()
    assert ("HTTP 429", iso(until)) == (
        told["cool_down_reason"],
        told["cool_down_until"],
    )
    assert "2 per 1 s, lowered from 10 by the API" == told["pace"]
    assert (None, None) == (told["lowered_at"], told["lowered_reason"])
    assert moment(told["all_handed_in_by"]) == max(
        moment(told["all_handed_in_by"]), moment(f"{until}+00:00")
    )
    cli.sql("UPDATE account SET paused_at = ?, pause_reason = 'wrong list'", stamp(0))
    paused = cli("status", "--json").json()
    assert ("wrong list", None) == (paused["pause_reason"], paused["all_handed_in_by"])
    assert paused["paused_since"]


def test_status_says_since_when_and_why_the_pace_is_lowered(cli: Cli) -> None:
    """``status`` shows when and by which answer the pace was lowered, and forgets older ones."""
    video, cut = cli.insert(), stamp(-10)
    for at, message in ((stamp(-3600), "HTTP 429: long ago"), (cut, "HTTP 429: slower")):
        tell(cli, video, 1, "throttled", at=at, message=message)
    tell(cli, video, 2, "try_later", message="HTTP 503: busy")
    cli.sql("UPDATE account SET pace_low = 2, pace_ceiling = 8, pace_cut_at = ?", cut)
    cli.sql("UPDATE account SET next_start_at = ?", stamp(0))
    told = cli("status", "--json", WORKER_RATE="10").json()
    assert (iso(cut), "HTTP 429: slower") == (told["lowered_at"], told["lowered_reason"])
    assert 5 < float(told["pace"].split()[0]) < 6
    told = cli("status", "--json", WORKER_RATE="1").json()
    assert ("1 per 1 s", None, None) == (told["pace"], told["lowered_at"], told["lowered_reason"])


def test_a_lowered_pace_that_nobody_used_is_still_lowered(cli: Cli) -> None:
    """The promised pace counts no time without starts as calm, as a worker does."""
    cli.sql("UPDATE account SET pace_low = 2, pace_ceiling = 8, pace_cut_at = ?", stamp(-9_000))
    cli.sql("UPDATE account SET next_start_at = pace_cut_at")
    told = cli("status", "--json", WORKER_RATE="10").json()
    assert "2 per 1 s, lowered from 10 by the API" == told["pace"]


def test_status_goes_by_a_clock_that_was_set(cli: Cli) -> None:
    """A pause that a clock an hour ahead wrote is shown as the next worker will keep it."""
    cli.insert()
    cli.sql(
        "UPDATE account SET written_at = ?, cool_down_until = ?, cool_down_reason = 'HTTP 429'",
        stamp(3600),
        stamp(3660),
    )
    told = cli("status", "--json").json()
    left = moment(told["cool_down_until"]) - datetime.now(UTC)
    assert timedelta(seconds=30) < left <= timedelta(seconds=61)


def test_a_cool_down_that_is_over_is_not_shown(cli: Cli) -> None:
    """A cool-down that is over is not shown."""
    cli.sql("UPDATE account SET cool_down_until = ?, cool_down_reason = 'HTTP 429'", stamp(-1))
    told = cli("status", "--json").json()
    assert (None, None) == (told["cool_down_until"], told["cool_down_reason"])


@pytest.mark.parametrize(
    ("rate", "rows", "due", "seconds"), [(1, 100, 0, 102), (10, 100, 0, 10.2), (1, 1, 900, 900)]
)
def test_the_end_is_estimated_from_pace_and_backoffs(
    cli: Cli, rate: int, rows: int, due: float, seconds: float
) -> None:
    """The estimated end follows the pace, and is not before the last video is due."""
    cli.insert_many({"url": f"https://e.org/{n}", "due_at": stamp(due)} for n in range(rows))
    before = datetime.now(UTC)
    told = cli("status", "--json", WORKER_RATE=str(rate)).json()
    after = datetime.now(UTC)
    end = moment(told["all_handed_in_by"])
    slack = timedelta(seconds=1)
    span = timedelta(seconds=seconds)
    assert min(max(end, before + span - slack), after + span + slack) == end


def test_status_says_how_long_it_takes_also_in_a_pause(cli: Cli) -> None:
    """The time left is shown in a pause too, and --rate shows it for another pace."""
    cli.insert_many({"url": f"https://e.org/{number}"} for number in range(7_200))
    cli("pause")
    told = cli("status", "--json").json()
    assert (None, True) == (told["all_handed_in_by"], 7_200 <= told["time_left"] <= 7_400)
    assert re.fullmatch(r"2 h( \d min)?", cli("status").pairs()["time left"])
    assert 720 <= cli("status", "--json", "--rate", 10).json()["time_left"] <= 740


@pytest.mark.parametrize(
    ("fact", "word"),
    [("account_refused", "refuses the key"), ("wrong_address", "is not the API"), ("accepted", "")],
)
def test_a_refused_key_is_known_until_it_works_again(cli: Cli, fact: str, word: str) -> None:
    """A refused key is reported until an answer shows that it works."""
    cli.insert()
    tell(cli, 1, 1, "account_refused", message="HTTP 401: Invalid API key")
    tell(cli, 1, 2, fact, message="what was said")
    said = cli("status")
    assert word in said.out
    assert ("VALOSSA_API_KEY" in said.out) == (fact == "account_refused")
    assert f"{fact}: what was said" == said.pairs()["last answer"][20:]
    document = cli("status", "--json").json()
    assert document["today"]["account_refused"]
    assert (fact, "what was said") == tuple(
        document["last_answer"][name] for name in ("fact", "message")
    )
    assert document["last_answer"]["at"][-1] == "Z"
    assert bool(word) == (document["all_handed_in_by"] is None)
    assert document["time_left"]


@pytest.mark.parametrize(
    ("rows", "variables", "pace", "pace_from"),
    [
        ([(40, 1, "--rate", 3)], {}, "40 per 1 s", "--rate of run on alpha, pid 7"),
        (
            [(40, 60, "WORKER_RATE", 3), (2, 1, "w.toml", 50), (99, 1, "--rate", 70)],
            {},
            "2 per 1 s",
            "w.toml of run on alpha, pid 7",
        ),
        (
            [(2, 1, "--rate", 3)],
            {"WORKER_RATE": "9", "WORKER_PERIOD_SECONDS": "60"},
            "2 per 1 s",
            "--rate of run on alpha, pid 7",
        ),
        (
            [(None, None, None, 3), (0, 1, "x", 3), (2, 0, "x", 3)],
            {"WORKER_RATE": "9", "WORKER_PERIOD_SECONDS": "60"},
            "9 per 60 s",
            f"the setting (WORKER_RATE and WORKER_PERIOD_SECONDS){NO_WORKER}",
        ),
    ],
)
def test_status_shows_the_rate_in_force_and_its_source(
    cli: Cli,
    rows: list[tuple[object, ...]],
    variables: dict[str, str],
    pace: str,
    pace_from: str,
) -> None:
    """The pace is that of the fastest living worker; without one it is the setting's."""
    for number, (rate, period, source, age) in enumerate(rows):
        assert isinstance(age, int)
        cli.sql(
            "INSERT INTO workers (id, host, pid, command, started_at, seen_at, rate,"
            " period_seconds, rate_source) VALUES (?, 'alpha', 7, 'run', ?, ?, ?, ?, ?)",
            *(f"w{number}", stamp(-99), stamp(-age), rate, period, source),
        )
    told = cli("status", "--json", **variables).json()
    assert (pace, pace_from) == (told["pace"], told["pace_from"])
    assert cli("status", **variables).pairs()["pace"].endswith(f", by {pace_from}")
    told = cli("status", "--json", "--rate", "5", WORKER_PERIOD_SECONDS="1").json()
    assert ("5 per 1 s", "the setting (--rate and WORKER_PERIOD_SECONDS)") == (
        told["pace"],
        told["pace_from"],
    )


@pytest.mark.usefixtures("path")
def test_status_shows_when_a_daemon_turned(cli: Cli) -> None:
    """``status`` shows the last turn of the daemon's loop."""
    cli.path.with_name(f"{cli.path.name}.alive").touch()
    seen = moment(cli("status", "--json").json()["daemon_turned_at"])
    assert abs(datetime.now(UTC) - seen) < timedelta(seconds=60)


def test_an_end_beyond_the_calendar_is_none(cli: Cli) -> None:
    """A pace that ends after the year 9999 has no time left to show."""
    cli.insert_many({"url": f"https://e.org/{number}"} for number in range(300))
    said = cli("status", "--json", WORKER_PERIOD_SECONDS="999999999")
    assert (0, None) == (said.code, said.json()["all_handed_in_by"])


# list


def listed(cli: Cli, *words: object) -> list[str]:
    """Return the ids of a list."""
    said = cli("list", *words)
    assert (0, "") == (said.code, said.err)
    return [row[0] for row in said.rows()[1:]]


def test_a_list_is_a_table_of_what_matters(cli: Cli) -> None:
    """State, attempts, when it is due, its names and its error: a line each."""
    cli.insert(media_id="a", title="A\ttalk", due_at="2026-01-01 00:00:00.5", error="no\ngood")
    assert [
        [
            *("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error"),
            "job_status",
        ],
        ["1", "pending", "0", "2026-01-01 00:00:00", "a", "A talk", "", "no good", ""],
    ] == cli("list").rows()


def test_a_list_and_an_export_say_what_became_of_a_job(cli: Cli) -> None:
    """A job's status, end, details and result stand in a list and an export, which is imported."""
    cli.insert(state="submitted", job_id="job-1", claims=1, media_id="a")
    cli.insert(media_id="b")
    cli.sql(
        "UPDATE jobs SET status = 'error', ended_as = 'error', details = 'no video',"
        " ended_at = '2026-01-01 00:00:00'"
    )
    assert ["job-1", "", "error"] == cli("list").rows()[1][-3:]
    assert [1] == [each["id"] for each in cli("list", "--job-status", "error", "--json").json()]
    assert 2 == cli("list", "--job-status", "eror").code
    said = cli("export", "--job-status", "error", "--columns", "job_id,job_status,job_ended_at")
    assert "job_id,job_status,job_ended_at\njob-1,error,2026-01-01 00:00:00\n" == said.out


@pytest.mark.parametrize("older", [False, True])
def test_an_export_is_imported_with_what_is_said_of_jobs_or_without(
    cli: Cli, fresh: Cli, listed: Callable[..., Path], *, older: bool
) -> None:
    """An export, also one without the columns of jobs, brings its jobs into another queue."""
    cli.insert(state="submitted", job_id="job-1", claims=1, media_id="a")
    cli.sql("UPDATE jobs SET ended_as = 'error', ended_at = '2026-01-01 00:00:00'")
    names = [name for name in EXPORTED if not (older and name in search.JOB_COLUMNS)]
    file = listed(cli("export", "--columns", ",".join(names)).out)
    fresh.path.parent.mkdir()
    said = fresh("import", file)
    assert (0, False) == (said.code, "job_status" in said.err)
    (row,) = fresh("list", "--json").json()
    assert ("submitted", "job-1", None) == (row["state"], row["job_id"], row["job_status"])


def test_an_empty_list_is_its_head(cli: Cli) -> None:
    """Nothing found is no error."""
    assert (0, 1) == (cli("list").code, len(cli("list").rows()))
    assert [] == cli("list", "--json").json()


def test_a_list_as_json_has_every_column(cli: Cli, dialect: str) -> None:
    """A program gets rows as they are, whatever bytes somebody stored."""
    cli.insert(title="Ä 🎬 \x1b[2J")
    stored = "CAST(x'ff61' AS TEXT)" if dialect == "sqlite" else "U&'\\+01F3ACa'"
    cli.sql(f"UPDATE videos SET description = {stored}")
    (row,) = cli("list", "--json").json()
    seen = "\udcffa" if dialect == "sqlite" else "🎬a"
    assert ("Ä 🎬 \x1b[2J", seen) == (row["title"], row["description"])
    assert {*videos.c.keys(), *search.JOB_COLUMNS} == set(row)
    assert 0 == cli("list").code


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["1", "2", "3", "4", "5", "6"]),
        (("--state", "failed"), ["4"]),
        (("--state", "failed", "--state", "in_doubt"), ["4", "5"]),
        (("2", "4"), ["2", "4"]),
        (("talk-submitted", "request-failed", "job-1", "1"), ["1", "3", "4"]),
        (("2", "4", "--state", "failed"), ["4"]),
        (("--error-like", "OF FAIL"), ["4"]),
        (("--error-like", "of%d"), []),
        (("--error-like", "n_d"), ["5"]),
        (("--error-like", "\udcff"), []),
        (("--limit", "2"), ["1", "2"]),
        (("--limit", "2", "--state", "pending"), ["1"]),
        (("--since", "2999-01-01"), []),
        (("--since", "2020-01-01 08:00"), ["1", "2", "3", "4", "5", "6"]),
        (("--since", "2026-01-01 12:00:00"), ["2", "3", "4", "5", "6"]),
    ],
)
def test_a_list_is_narrowed_by_the_shared_filters(
    cli: Cli, words: tuple[str, ...], found: list[str]
) -> None:
    """The filters select exactly what was asked for, and % and _ are letters."""
    in_each_state(cli)
    cli.sql("UPDATE videos SET updated_at = '2026-01-01 11:59:59' WHERE id = 1")
    cli.sql("UPDATE videos SET updated_at = '2026-01-01 12:00:00' WHERE id = 2")
    assert found == listed(cli, *words)


@pytest.mark.parametrize("limit", [999, 1_000, 1_001, 2_000, 2_345, 9_999])
def test_a_long_list_is_whole(cli: Cli, limit: int) -> None:
    """Over every page, each video once and in order, up to the limit."""
    cli.insert_many({"url": f"https://e.org/{number}"} for number in range(2_345))
    expected = [str(number) for number in range(1, min(limit, 2_345) + 1)]
    assert expected == listed(cli, "--limit", limit)


def test_a_list_on_a_terminal_is_bounded(cli: Cli, screen: Callable[..., Screen]) -> None:
    """A terminal gets 50 videos and how many more there are; --limit and a pipe get all."""
    cli.insert_many({"url": f"https://e.org/{number}.mp4"} for number in range(1_250))
    for words, rows, more in (((), 50, 1), (("--limit", 60), 60, 0)):
        program = screen("list", *words, "--database", cli.url, columns=80)
        assert 0 == program.ended()
        assert (rows, more) == (
            program.shown.count("pending"),
            program.shown.count("… 1,200 more: --limit N, or pipe it"),
        )
    assert 1_251 == len(cli("list").rows())


def test_a_list_shows_when_leases_end(cli: Cli, screen: Callable[..., Screen]) -> None:
    """A video in flight is listed with the end of its lease."""
    cli.insert(state="submitting", job_id=None, claims=1, **CLAIM)
    head, row = cli("list", "--state", "submitting").rows()
    assert ("lease_until", "2030-01-01 00:00:00") == (head[-1], row[-1])
    program = screen("list", "--database", cli.url, columns=80)
    assert 0 == program.ended()
    assert "lease ends 2030-01-01 00:00:00" in program.shown


def test_a_list_on_a_terminal_is_a_table(cli: Cli, screen: Callable[..., Screen]) -> None:
    """People get columns, and markup or escape codes in a title change nothing on the screen."""
    cli.insert(title="\\[/bold]\x1b[2J[red]x", media_id="a")
    cli.insert(state="cancelled")
    program = screen("list", "--database", cli.url)
    assert 0 == program.ended()
    assert 1 == program.shown.count("due 20")  # a cancelled one is not
    assert "\\[/bold]\\x1b[2J[red]x" in program.shown
    assert "─────" in program.shown


def test_a_list_on_a_narrow_terminal_is_a_line_a_video(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    """On 80 columns a video is one line, and its job id is whole."""
    job_id = "246dd397-3300-4aaf-9adb-4af3d70b3110"
    cli.insert(state="submitted", job_id=job_id, title="A long title " * 9)
    cli.insert(state="failed", error="HTTP 502: <html><head><title>502 Bad Gateway</title>" * 9)
    program = screen("list", "--database", cli.url, columns=80)
    assert 0 == program.ended()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", program.shown).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert ["id", "────", "1", "2"] == [line.split()[0][:4] for line in lines if line.strip()]
    (first,) = (line for line in lines if line.split()[:2] == ["1", "submitted"])
    (second,) = (line for line in lines if line.split()[:2] == ["2", "failed"])
    assert job_id == first.split()[-1]
    assert "A long title" == first[first.index("A") :][:12]
    assert "HTTP 502: <html>" == second[second.index("HTTP") :][:16]


def test_a_list_on_fifty_columns_is_a_block_a_video(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    """On 50 columns the id, the address, the job id and the error of a video are whole."""
    job_id, error = "246dd397-3300-4aaf-9adb-4af3d70b3110", "HTTP 502: " + "Bad Gateway " * 9
    cli.insert(state="submitted", job_id=job_id, title="A long title " * 9)
    cli.insert(url="https://e.org/a/b.mp4?sig=5", state="failed", error=error)
    program = screen("list", "--database", cli.url, columns=50)
    assert 0 == program.ended()
    first, second = program.shown.strip().split("\n\n")
    assert (
        f"id 1 state submitted video {'A long title ' * 9} last {job_id}".split() == first.split()
    )
    told = f"id 2 state failed video https://e.org/a/b.mp4 last {error}"
    assert told.split() == second.split()


def test_why_and_show_are_read_on_a_narrow_terminal(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    """At 80 columns ``why`` and ``show`` wrap their sentences and cut no URL."""
    message = "HTTP 502: " + "the gateway said something long " * 6
    url = f"https://example.org/{'long/' * 30}.mp4"
    cli.insert(url=url, state="in_doubt", error=message, claims=1)
    tell(cli, 1, 1, "in_doubt", http_status=502, message=message)
    tell(cli, 1, 1, "late_answer", job_id="job-9")
    for words, told in (
        (("why",), "what helps: valossa-ingest reconcile"),
        (("why",), "an example: valossa-ingest show id=1"),
        (("show", 1), "attempt 1: in_doubt, HTTP 502: the gateway said"),
        (("show", 1), "attempt 1: late_answer, job job-9 (w-1)"),
    ):
        program = screen(*words, "--database", cli.url, columns=80)
        assert 0 == program.ended()
        assert told in " ".join(program.shown.split())
        long = [line for line in program.shown.splitlines() if len(line) > 80 and url not in line]
        assert [] == long
    assert url in program.shown.split("next:")[0]


# show


@pytest.mark.parametrize("reference", ["3", "talk-submitted", "request-submitted", "job-1"])
def test_a_video_is_shown_by_each_of_its_names(cli: Cli, reference: str) -> None:
    """Whatever a person has at hand leads to the story."""
    in_each_state(cli)
    (story,) = cli("show", reference, "--json").json()
    assert 3 == story["video"]["id"]
    assert ["id", "3"] == cli("show", reference).out.splitlines()[0].split()


def test_what_nothing_is_called_is_said(cli: Cli) -> None:
    """A wrong name is exit 1 and a sentence, whatever its letters."""
    for reference in ("99", "nobody", "\udcff", "9" * 40):
        said = cli("show", reference)
        expected = "as id, media id, request id or job id"
        assert (1, "", expected) == (said.code, said.out, said.err.rstrip()[-len(expected) :])


def test_a_name_of_several_shows_them_all(cli: Cli) -> None:
    """A number that is one's id and another's media id hides neither."""
    cli.insert(media_id="2")
    cli.insert(media_id="b")
    assert [1, 2] == [story["video"]["id"] for story in cli("show", "2", "--json").json()]


def test_a_story_is_told_in_order(cli: Cli) -> None:
    """The history of a video shows each event, its time, its author and the answer."""
    cli.insert(state="failed", error="HTTP 400: bad language", http_status=400, claims=2)
    tell(cli, 1, 1, "try_later", http_status=503, message="busy")
    tell(cli, 1, 2, "refused", http_status=400, message="bad language")
    (story,) = cli("show", 1, "--json").json()
    assert [(1, "try_later", 503, "busy", "w-1"), (2, "refused", 400, "bad language", "w-1")] == [
        tuple(fact[name] for name in ("attempt", "fact", "http_status", "message", "who"))
        for fact in story["history"]
    ]
    out = cli("show", 1).out
    words = ["HTTP 400: bad language", "next: nothing by itself", "try_later", "refused"]
    places = [out.index(word) for word in words]
    assert sorted(places) == places


NEXT: dict[str, tuple[dict[str, object], str]] = {
    "due": ({}, "it is due"),
    "later": (
        {"due_at": "2999-01-01 00:00:00"},
        "it is due at 2999-01-01 00:00:00 UTC",
    ),
    "unsendable": (
        {"url": "ftp://e.org/a"},
        "it will be refused without a request: url: must begin with http://",
    ),
    "ended": (
        {"url": "https://e.org/a?AWSAccessKeyId=A&Signature=SIGNATURE&Expires=1"},
        "it will be refused without a request: url: signed link ended 1970-01-01 00:00:01 UTC",
    ),
    "submitting": (
        {"state": "submitting", **CLAIM},
        "worker w-1 is sending it; if that one has died, it is in doubt from 2030-01-01 00:00:00",
    ),
    "lapsed": (
        {"state": "submitting", **CLAIM, "lease_until": "2020-01-01 00:00:00"},
        "its worker w-1 has died or hangs; valossa-ingest reconcile puts it in doubt",
    ),
    "submitted": (
        {"state": "submitted", "job_id": "j"},
        "the API is asked about its job when no other one is due",
    ),
    "failed": (
        {"state": "failed"},
        "nothing by itself; mend the cause, then: valossa-ingest retry id=1",
    ),
    "cancelled": (
        {"state": "cancelled"},
        "nothing by itself; valossa-ingest retry id=1 takes it up",
    ),
    "in doubt": (
        {"state": "in_doubt", "request_id": "r-1"},
        "a run asks the API's list for it, as valossa-ingest reconcile does now; by hand: look for",
    ),
}


@pytest.mark.parametrize("case", NEXT)
def test_what_happens_next_is_said_for_every_state(cli: Cli, case: str) -> None:
    """``show`` names the next event for every state, and the command for it."""
    columns, expected = NEXT[case]
    cli.insert(**columns)
    (story,) = cli("show", 1, "--json").json()
    assert expected == story["next"][: len(expected)]
    assert "SIGNATURE" not in story["next"]


def test_what_happens_to_a_doubt_depends_on_the_settings(cli: Cli) -> None:
    """Where doubts are repeated, that is said, and when; not any more when attempts are used up."""
    cli.insert(state="in_doubt", claims=9, attempts=2)
    again = "it is sent again after 300 s (on_doubt = retry)"
    retrying = {"WORKER_ON_DOUBT": "retry"}
    assert again == cli("show", 1, "--json", **retrying).json()[0]["next"]
    held = cli("show", 1, "--json", WORKER_ON_DOUBT="hold").json()[0]["next"]
    assert "nothing by itself: look for" == held[:27]
    used_up = cli("show", 1, "--json", WORKER_MAX_ATTEMPTS="2", **retrying).json()[0]["next"]
    assert "retry id=1 --may-buy-twice" in used_up


def test_a_doubt_that_was_given_up_is_not_retried_by_a_plain_word(cli: Cli) -> None:
    """Law 5: the command that is proposed says what it may cost."""
    cli.insert(state="failed", claims=1)
    tell(cli, 1, 1, "in_doubt")
    assert "retry id=1 --may-buy-twice" in cli("show", 1, "--json").json()[0]["next"]


def test_the_request_is_shown_as_it_would_be_sent(cli: Cli, beside: Start) -> None:
    """The body that show prints is the one that the API gets, with the defaults and without the
    key.
    """
    cli.insert(
        url="https://e.org/a.mp4",
        media_id="talk-1",
        title="Ä",
        description="D",
        transcript_url="https://e.org/a.srt",
        face_min_relative_height=0.25,
        face_gallery_id="g",
    )
    variables = {
        "WORKER_DEFAULT_LANGUAGE": "fi-FI",
        "WORKER_DEFAULT_EMAIL_GROUP": "team",
        "WORKER_DEFAULT_CALLBACK_URL": "https://e.org/done",
        "VALOSSA_API_KEY": SECRET,
    }
    before = cli("show", 1, "--json", **variables).json()[0]["request"]
    with beside(Options(keys=frozenset({SECRET}))) as simulator:
        assert 0 == cli("drain", WORKER_API_URL=simulator.url, **variables).code
        (request,) = simulator.requests
    after = cli("show", "talk-1", **variables)
    assert before == request.body
    assert before == json.loads(after.out.split("the request, without the key:")[1])
    assert SECRET not in after.out + after.err
    assert "api_key" not in after.out


@pytest.mark.parametrize(
    ("columns", "fact", "name"),
    [
        ({"media_id": "m"}, None, "m"),
        ({"media_id": ""}, None, "r"),
        ({"media_id": None}, None, "r"),
        ({"media_id": "m", "claims": 1}, "invalid", "m"),
        ({"media_id": "", "claims": 1}, "invalid", "r"),
        ({"media_id": "m", "claims": 1}, "in_doubt", "r"),
        ({"media_id": "m", "claims": 1}, "try_later", "r"),
        ({"media_id": "m", "claims": 1, "state": "submitted", "job_id": "j"}, None, "r"),
    ],
)
def test_the_request_carries_the_name_that_it_will_have(
    cli: Cli, columns: dict[str, object], fact: str | None, name: str
) -> None:
    """A claim names the request by media id; a name that was perhaps sent is kept."""
    cli.insert(request_id="r", **columns)
    if fact:
        tell(cli, 1, 1, fact)
    if fact == "try_later":
        cli.sql("UPDATE history SET started_at = at")
    request: Any = cli("show", 1, "--json").json()[0]["request"]
    assert name == request["media"]["customer_media_info"]["id"]


# retry


def states(cli: Cli) -> list[str]:
    """Return the states by id."""
    return cli.sql("SELECT state FROM videos ORDER BY id")


def test_a_retry_takes_failed_and_cancelled_and_reports_the_rest(cli: Cli) -> None:
    """A person learns how many are due again, and which were left as they are."""
    in_each_state(cli)
    said = cli("retry", *range(1, 7))
    only = "doubts, and videos that had a job, are retried only with --may-buy-twice"
    hint = f"valossa-ingest: {only}: it may cost twice\n"
    assert (0, hint) == (said.code, said.err)
    expected = {"retried": "2", "left, pending": "1", "left, submitting": "1"}
    assert {**expected, "left, submitted": "1", "left, in_doubt": "1"} == said.pairs()
    assert ["pending", "submitting", "submitted", "pending", "in_doubt", "pending"] == states(cli)
    again = cli.row(4)
    assert (0, 1, None, None) == tuple(
        again[name] for name in ("attempts", "claims", "error", "claim_token")
    )
    assert [(4, "retry", 1), (6, "retry", 1)] == cli.sql(
        "SELECT video_id, fact, attempt FROM history WHERE who LIKE 'person%' ORDER BY video_id"
    )


def test_a_retry_as_json(cli: Cli) -> None:
    """A program learns the same."""
    in_each_state(cli)
    said = cli("retry", "--state", "failed", "--state", "in_doubt", "--json")
    assert (0, {"retried": 1, "left": {"in_doubt": 1}}) == (said.code, said.json())


def test_a_retry_of_nothing_is_a_problem(cli: Cli) -> None:
    """A retry that changes no video is exit 1."""
    in_each_state(cli)
    before = states(cli)
    for words in (("99",), ("--state", "in_doubt"), ("--error-like", "nowhere")):
        said = cli("retry", *words)
        assert (1, "0") == (said.code, said.pairs()["retried"])
    assert before == states(cli)


def test_a_doubt_is_retried_only_where_it_may_be_bought_twice(cli: Cli) -> None:
    """The word for it says what it may cost; the doubt stays open after it (law 5)."""
    cli.insert(state="in_doubt", claims=1, attempts=1)
    tell(cli, 1, 1, "in_doubt")
    assert 1 == cli("retry", 1).code
    assert 0 == cli("retry", 1, "--may-buy-twice").code
    assert ["pending"] == states(cli)
    tell(cli, 1, 2, "accepted", job_id="job-2")
    assert 1 == cli("status", "--json").json()["possibly_bought_twice"]


def test_a_doubt_stays_one_when_its_retry_is_refused(cli: Cli, beside: Start) -> None:
    """Law 5: a clear answer to the second request says nothing about the first."""
    cli.insert(state="in_doubt", claims=1, attempts=1)
    tell(cli, 1, 1, "in_doubt")
    cli("retry", 1, "--may-buy-twice")
    with beside(Options(script={1: "400"})) as simulator:
        variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": "demo-key"}
        variables["WORKER_ON_DOUBT"] = "hold"
        assert 1 == cli("drain", **variables).code
    assert ["in_doubt"] == states(cli)


def many(cli: Cli, count: int) -> None:
    """Insert that many failures."""
    cli.insert_many(
        {"url": f"https://e.org/{number}", "state": "failed", "error": "language"}
        for number in range(count)
    )


@pytest.mark.parametrize(("count", "code"), [(9, 0), (10, 1), (11, 1)])
def test_many_are_not_retried_unasked(cli: Cli, count: int, code: int) -> None:
    """Where nobody can be asked, ten and more need --yes."""
    many(cli, count)
    said = cli("retry", "--error-like", "language")
    assert code == said.code
    if code:
        why = "valossa-ingest: nothing was changed; --yes does it unasked: "
        assert (f"{why}retry {count} videos\n", ["failed"] * count) == (said.err, states(cli))
        assert 0 == cli("retry", "--error-like", "language", "--yes").code
    assert ["pending"] * count == states(cli)


@pytest.mark.parametrize(
    ("keys", "code", "state"),
    [
        ("y\n", 0, "pending"),
        (" YES \n", 0, "pending"),
        ("n\n", 1, "failed"),
        ("\n", 1, "failed"),
        ("yes please\n", 1, "failed"),
        ("\x04", 1, "failed"),
    ],
)
def test_a_person_is_asked_before_many(
    cli: Cli, screen: Callable[..., Screen], keys: str, code: int, state: str
) -> None:
    """Only a clear yes changes many rows; no answer, and leaving, are no."""
    many(cli, 12)
    program = screen("retry", "--state", "failed", "--database", cli.url)
    program.wait_for("retry 12 videos? [y/N] ")
    program.type(keys)
    assert code == program.ended()
    assert [state] * 12 == states(cli)
    assert "Traceback" not in program.shown


def test_ctrl_c_at_a_question_changes_nothing(cli: Cli, screen: Callable[..., Screen]) -> None:
    """A person who does not confirm leaves with exit 130, and no row is different."""
    many(cli, 12)
    program = screen("retry", "--state", "failed", "--database", cli.url)
    program.wait_for("retry 12 videos? [y/N] ")
    assert 130 == program.interrupt()
    assert ["failed"] * 12 == states(cli)
    assert "Traceback" not in program.shown


def test_a_retry_without_a_filter_is_refused(cli: Cli) -> None:
    """A retry without a filter changes nothing."""
    in_each_state(cli)
    before = states(cli)
    said = cli("retry", "--yes")
    flags = "--batch, --state, --job-status, --error-like, --since or --until"
    expected = f"valossa-ingest: retry what? give ids, {flags}\n"
    assert (2, expected) == (said.code, said.err)
    assert before == states(cli)


def test_why_groups_what_differs_in_the_row_alone(cli: Cli) -> None:
    """Failures that differ in a row's own file name, a request id and a time are one group."""
    cli("migrate")
    for n, name in enumerate("abcdef"):
        error = f"HTTP 400: no {name}{name}.mp4 (request req_{name}x, 2026-01-0{n + 1})"
        url = f"https://v.example/{name}{name}.mp4"
        cli.insert(url=url, state="failed", http_status=400, error=error)
    assert [("6", "failed")] == [tuple(row[:2]) for row in cli("why").rows()[1:]]


def test_why_names_what_a_dead_worker_had_in_flight(cli: Cli) -> None:
    """A lease that ran out is told with its way out; one in force is not."""
    cli.insert(state="submitting", **CLAIM)
    assert [] == cli("why").rows()[1:]
    cli.insert(state="submitting", **{**CLAIM, "lease_until": "2020-01-01 00:00:00"})
    (row,) = cli("why").rows()[1:]
    assert ["1", "submitting", "its lease has run out: its worker has died or hangs", "2"] == row[
        :4
    ]
    assert row[4].startswith("valossa-ingest reconcile puts it in doubt")
    assert [] == cli("why", 1).rows()[1:]


def test_a_cool_down_is_told_wherever_a_person_looks(cli: Cli) -> None:
    """A cool-down stands in show, why, status and resume, with its end and its reason."""
    cli.insert()
    told = "a cool-down until 2099-01-02 03:04:05 UTC (HTTP 429: slow)"
    at, cut = "2099-01-02 03:04:05", "2099-01-01 00:00:00"
    cli.sql(
        "UPDATE account SET cool_down_until = ?, cool_down_reason = 'HTTP 429: slow', "
        "pace_low = 1, pace_ceiling = 1, pace_cut_at = ?",
        at,
        cut,
    )
    resume = "valossa-ingest resume --cool-down ends it"
    assert f"next: it is due; {told} holds all: {resume}" in cli("show", "id=1").out
    assert [["1", "pending", told, "1", f"{resume}; it ends by itself then"]] == cli("why").rows()[
        1:
    ]
    assert f"{told} holds all: {resume}" in cli("status").out
    assert f"it was not paused\n{told} goes on: {resume}\n" == cli("resume").out
    assert f"it was not paused\nended {told}\n" == cli("resume", "--cool-down").out
    assert "it was not paused\nthere was no cool-down\n" == cli("resume", "--cool-down").out
    assert "cool-down" not in cli("show", "id=1").out
    assert [] == cli("why").rows()[1:]


def test_why_keeps_to_its_filters(cli: Cli) -> None:
    """A cool-down is told with the number of the videos that are meant, and one of them."""
    cli.insert(state="failed", error="E")
    for batch in ("a", "a", "b", "\ufffd"):
        cli.insert(batch=batch)
    at = "2099-01-02 03:04:05"
    cli.sql("UPDATE account SET cool_down_until = ?, cool_down_reason = 'slow'", at)
    held = {
        (): [["4", "2"], ["1", "1"]],
        ("1",): [["1", "1"]],
        ("1", "4"): [["1", "4"], ["1", "1"]],
        ("--batch", "a"): [["2", "2"]],
        ("--batch", "b"): [["1", "4"]],
        ("--batch", "\udcff"): [["1", "5"]],
        ("--batch", "c"): [],
    }
    for words, groups in held.items():
        assert groups == [[row[0], row[3]] for row in cli("why", *words).rows()[1:]]


def test_why_says_on_a_terminal_that_there_is_nothing(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    """A person is not left with nothing at all."""
    program = screen("why", "--database", cli.url)
    assert 0 == program.ended()
    assert "no failure and no doubt to explain" in program.shown


def test_a_video_is_shown_by_its_address(cli: Cli) -> None:
    """``show`` takes an address; where several videos have it, their ids are named."""
    signed = f"https://e.org/a.mp4?Signature={'s' * 2_100}"
    cli.insert(url=signed)
    cli.insert(url="https://e.org/b.mp4")
    assert (0, "") == (cli("show", signed).code, cli("show", signed).err)
    assert [1] == [story["video"]["id"] for story in cli("show", signed, "--json").json()]
    cli.insert(url="https://e.org/b.mp4")
    said = cli("show", "https://e.org/b.mp4", "--json")
    expected = "valossa-ingest: 2 videos have this address: say which, id=2 or id=3\n"
    assert (0, expected, 2) == (said.code, said.err, len(said.json()))
    said = cli("show", "https://e.org/c.mp4")
    assert (1, True) == (said.code, "as address, id, media id" in said.err)
    assert ["2", "3"] == [row[0] for row in cli("list", "https://e.org/b.mp4").rows()[1:]]


def test_a_request_is_shown_with_its_accents(cli: Cli) -> None:
    """People read the letters of a title, not their numbers."""
    cli.insert(title="Ääkköset 日本")
    assert '"title": "Ääkköset 日本"' in cli("show", 1).out


def test_why_groups_doubts_of_one_kind(cli: Cli) -> None:
    """Doubts for one reason are one group, whatever the last list said of each."""
    for more in ("", "; evidence: another video has the identifier talk too", "; evidence: no"):
        cli.insert(state="in_doubt", claims=1, error=f"no answer in 60 s{more}")
    assert [["3", "in_doubt", "no answer in 60 s"]] == [row[:3] for row in cli("why").rows()[1:]]

"""``retry --job-status error --may-buy-again``: what it costs is said before it is done."""

import re
from collections.abc import Callable

import pytest

from tests.cli.conftest import Cli, Screen

AT = "2026-01-01 00:00:00"


def bought(cli: Cli, number: int, end: str | None = "error", **columns: object) -> None:
    """Insert videos that have a job each, which has ended so."""
    for _ in range(number):
        (last,) = cli.sql("SELECT coalesce(max(id), 0) FROM videos")
        video = cli.insert(state="submitted", claims=1, job_id=f"job-{last}", **columns)
        at = AT if end else None
        cli.sql("UPDATE jobs SET ended_as = ?, ended_at = ? WHERE video_id = ?", end, at, video)


@pytest.mark.parametrize(
    "words",
    [
        ("--job-status", "error"),
        ("--may-buy-again",),
        ("1", "--may-buy-again"),
        ("--job-status", "finished", "--may-buy-again"),
        ("--job-status", "error", "--job-status", "open", "--may-buy-again"),
    ],
)
def test_nothing_is_bought_again_without_both_words(cli: Cli, words: tuple[str, ...]) -> None:
    """Without the status or the permission nothing is changed, and the way out is named."""
    bought(cli, 1)
    said = cli("retry", *words, "--yes")
    assert (2, "") == (said.code, said.out)
    assert "retry --job-status error or gone --may-buy-again buys them again" in said.err
    assert "submitted" == cli.row(1)["state"]


def test_the_two_permissions_exclude_each_other(cli: Cli) -> None:
    """A retry may buy twice or again, not both."""
    words = ("--job-status", "error", "--may-buy-again", "--may-buy-twice")
    assert 2 == cli("retry", *words).code


def test_the_preview_says_what_it_costs(cli: Cli) -> None:
    """The preview names jobs, money, time, caps, and what preflight says; --yes does it."""
    bought(cli, 9, url="https://youtu.be/abc")
    bought(cli, 3)
    bought(cli, 2, "finished")
    said = cli(
        "retry",
        *("--job-status", "error", "--may-buy-again"),
        WORKER_PRICE_PER_VIDEO="0.5",
        WORKER_MAX_TOTAL="100",
    )
    told = said.pairs()
    assert ("12", "6.00 EUR", "100") == tuple(
        told[n] for n in ("to buy", "in money", "max_total leaves")
    )
    assert ("9", "youtu.be 9, example.org 3") == (told["surely wasted"], told["from"])
    assert "is a page of youtu.be, not a file" in said.out
    assert (1, True) == (said.code, "--yes does it unasked: retry 12 videos" in said.err)
    assert 14 == cli.sql("SELECT count(*) FROM videos WHERE state = 'submitted'")[0]

    done = cli("retry", "--job-status", "error", "--may-buy-again", "--yes", "--json").json()

    assert (12, 12, 9) == (done["retried"], done["to_buy"], done["found"][0]["number"])
    assert 12 == cli.sql("SELECT count(*) FROM videos WHERE state = 'pending'")[0]


def test_no_more_is_bought_than_was_previewed(cli: Cli, screen: Callable[..., Screen]) -> None:
    """Jobs that end in error while a person decides are not bought; the preview comes anew."""
    bought(cli, 12)
    words = ("retry", "--job-status", "error", "--may-buy-again", "--database", cli.url)
    shown = screen(*words)
    shown.wait_for("retry 12 videos, which costs 12 jobs more?")
    bought(cli, 1)
    shown.type("y\n")
    shown.wait_for("nothing was changed, look again")
    assert 1 == shown.ended()
    assert 13 == cli.sql("SELECT count(*) FROM videos WHERE state = 'submitted'")[0]
    assert 13 == cli(*words[:-2], "--yes", "--json").json()["retried"]


def test_few_are_bought_again_unasked(cli: Cli) -> None:
    """Few videos are retried at once, by their ids; one that is not meant is left."""
    bought(cli, 3)
    said = cli("retry", "2", "3", "99", "--job-status", "error", "--may-buy-again")
    assert (0, "2") == (said.code, said.pairs()["retried"])
    assert "no video has '99'" in said.err
    assert ["submitted", "pending", "pending"] == cli.sql("SELECT state FROM videos ORDER BY id")
    again = cli("retry", "2", "--job-status", "error", "--may-buy-again")
    assert (1, "0") == (again.code, again.pairs()["retried"])


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_was_bought_again_has_a_way_out_that_works(cli: Cli, state: str) -> None:
    """``show`` prints the retry that takes a video which failed, or was cancelled, after it was to
    be bought again; a plain one says why it does not.
    """
    bought(cli, 1)
    assert 0 == cli("retry", "1", "--job-status", "error", "--may-buy-again").code
    cli.sql("UPDATE videos SET state = ?, error = 'HTTP 400: bad', http_status = 400", state)
    plain = cli("retry", "1")
    assert (1, "0") == (plain.code, plain.pairs()["retried"])
    assert "videos that had a job, are retried only with --may-buy-twice" in plain.err
    (story,) = cli("show", "1", "--json").json()
    (typed,) = re.findall(r"valossa-ingest (retry [a-z0-9= -]+twice)", story["next"])
    assert 0 == cli(*typed.split()).code
    assert "pending" == cli.row(1)["state"]


def test_failures_that_had_a_job_have_a_way_out_of_their_own(cli: Cli) -> None:
    """``why`` tells failures that had a job from others with the same message."""
    bought(cli, 1)
    cli("retry", "1", "--job-status", "error", "--may-buy-again")
    cli.insert()
    cli.sql("UPDATE videos SET state = 'failed', error = 'HTTP 400: bad', http_status = 400")
    helps = {row[3]: row[4] for row in cli("why").rows()[1:]}
    twice = "mend the cause, then retry ID --may-buy-twice, since it had a job before"
    assert twice == helps["1"]
    assert "then retry" == helps["2"][-10:]

import socket
from pathlib import Path

import pytest

from worker.cli import run
from worker.cli.commands.simulate import ordered
from worker.cli.parser import parser
from worker.simulator import Change, Limit, Options, Span, Uploading


def test_the_kinds_of_trouble_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--fail help`` lists the kinds of faults."""
    assert 0 == run(["simulate", "--fail", "help"], {})
    assert "stall" in capsys.readouterr().out


def test_the_kinds_of_list_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--list help`` lists the kinds of job lists."""
    assert 0 == run(["simulate", "--list", "help"], {})
    assert "two-arrays" in capsys.readouterr().out


def test_the_kinds_of_trouble_of_uploads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--upload-fail help`` lists the steps and their faults."""
    assert 0 == run(["simulate", "--upload-fail", "help"], {})
    assert "finalize:several" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--fail", "nonsense=0.1"),
        ("--fail", "lost=2"),
        ("--limit", "many"),
        ("--limit-change", "5/1s"),
        ("--list", "nonsense"),
        ("--finish", "2"),
        ("--upload-fail", "lost=0.1"),
        ("--upload-fail", "chunk:nonsense=0.1"),
        ("--chunk-bytes", "0"),
    ],
)
def test_an_order_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    """A flag value that cannot be parsed is refused with one sentence and exit 2."""
    assert 2 == run(["simulate", "--port", "0", flag, value], {})
    assert capsys.readouterr().err.startswith("valossa-ingest: ")


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is named, with exit 78."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert 78 == run(["simulate", "--port", str(port)], {})
    assert f"valossa-ingest: port {port}: " in capsys.readouterr().err


def test_what_is_typed_is_what_is_done() -> None:
    """Every flag of ``simulate`` sets its option."""
    typed = (
        "simulate --key a --key b --latency 0.3 --fail lost=0.02 --fail 429=0.1 --limit 20/1s "
        "--limit-change 60=5/1s --limit-change 120=30/1s "
        "--list newest-7 --list total --list-delay 2 --finish 0.5 --finish-after 60 --seed 7 "
        "--job-seconds 5-15m --dead-host dead.example --dead-host s3.example/bucket "
        "--job error=0.1 --poll-again 7 --status 404=0.1 --results cut=0.2 --results-delay 3 "
        "--result-bytes 9000 --book jobs.jsonl "
        "--upload-fail chunk:lost=0.02 --upload-fail chunk:429=0.1 "
        "--upload-fail finalize:several=0.5 --upload-life 60 --chunk-bytes 1000"
    )
    assert Options(
        keys=frozenset({"a", "b"}),
        latency_seconds=0.3,
        failures={"lost": 0.02, "429": 0.1},
        limit=Limit(20, 1),
        limit_changes=(Change(60, Limit(5, 1)), Change(120, Limit(30, 1))),
        seed=7,
        book=Path("jobs.jsonl"),
        listing=["newest-7", "total"],
        list_delay_seconds=2,
        finished_share=0.5,
        finish_seconds=60,
        job_seconds=Span(300, 900),
        dead_hosts=frozenset({"dead.example", "s3.example/bucket"}),
        job_failures={"error": 0.1},
        poll_seconds=7,
        status_failures={"404": 0.1},
        result_failures={"cut": 0.2},
        results_delay_seconds=3,
        result_bytes=9_000,
        uploads=Uploading(
            chunk_bytes=1_000,
            failures={"chunk": {"lost": 0.02, "429": 0.1}, "finalize": {"several": 0.5}},
            life_seconds=60,
        ),
    ) == ordered(parser().parse_args(typed.split()))


def test_nothing_typed_is_no_trouble() -> None:
    """Without flags the imitation has no faults and accepts the default key."""
    assert Options(listing=[]) == ordered(parser().parse_args(["simulate"]))


def test_a_port_that_is_none_is_told() -> None:
    """A value that is no port is refused with exit 2."""
    for port in ("99999", "-1", "x"):
        with pytest.raises(SystemExit, match="2"):
            run(["simulate", "--port", port], {})


@pytest.mark.parametrize("flag", ["--latency", "--list-delay", "--finish-after"])
@pytest.mark.parametrize("value", ["-1", "nan"])
def test_a_time_that_is_none_is_told(flag: str, value: str) -> None:
    """A time that is not a finite number of seconds is refused with exit 2."""
    with pytest.raises(SystemExit, match="2"):
        run(["simulate", "--port", "0", flag, value], {})


def test_a_book_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A book that cannot be written is named, with exit 78."""
    book = tmp_path / "missing" / "book"
    assert 78 == run(["simulate", "--port", "0", "--book", str(book)], {})
    assert f"valossa-ingest: {book}: No such file or directory\n" == capsys.readouterr().err

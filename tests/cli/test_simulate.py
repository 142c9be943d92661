import socket

import pytest

from worker.cli import run


def test_the_kinds_of_trouble_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody would know what can be ordered."""
    assert 0 == run(["simulate", "--fail", "help"], {})
    assert "stall" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value"), [("--fail", "nonsense=0.1"), ("--fail", "lost=2"), ("--limit", "many")]
)
def test_an_order_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    """A typing error would end in a traceback."""
    assert 2 == run(["simulate", "--port", "0", flag, value], {})
    assert capsys.readouterr().err.startswith("valossa-ingest: ")


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A second imitation on one port would end in a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert 78 == run(["simulate", "--port", str(port)], {})
    assert f"valossa-ingest: port {port}: " in capsys.readouterr().err

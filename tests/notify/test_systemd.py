import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Hands
from tests.notify.receiver import Manager
from worker.notify.systemd import Systemd, of


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Yield a service manager that listens at a path, or at an abstract address."""
    abstract = f"@valossa-ingest-test-{os.getpid()}-{tmp_path.name}"
    made = Manager(str(tmp_path / "notify") if request.param == "file" else abstract)
    with closing(made.socket):
        yield made


def service(address: str, hands: Hands, **variables: str) -> Systemd:
    """Return the service manager of an environment with this address, for the process 7."""
    return of({"NOTIFY_SOCKET": address, **variables}, 7, hands.clock.monotonic)


def test_the_first_turn_is_the_readiness(manager: Manager, hands: Hands) -> None:
    """The first turn of the loop reports READY; without a watchdog no other turn says anything."""
    found = service(manager.address, hands)
    assert [] == manager.got()
    for _ in range(3):
        found.turned()
        hands.pass_seconds(1_000)
    assert ["READY=1"] == manager.got()


def test_the_watchdog_is_fed_by_turns_alone(manager: Manager, hands: Hands) -> None:
    """A turn feeds the watchdog at most each quarter of its time; a loop that stands feeds none."""
    found = service(manager.address, hands, WATCHDOG_USEC="120000000", WATCHDOG_PID="7")
    for _ in range(121):  # two minutes, a turn each second
        found.turned()
        hands.pass_seconds(1)
    assert ["READY=1", *["WATCHDOG=1"] * 4] == manager.got()
    hands.pass_seconds(600)
    found.send("STATUS=idle")
    assert ["STATUS=idle"] == manager.got()


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_of_another_process_is_not_fed(
    manager: Manager, hands: Hands, variables: dict[str, str]
) -> None:
    """Only a watchdog of this process is fed, and only one that says its time."""
    found = service(manager.address, hands, **{"WATCHDOG_USEC": "1000000"} | variables)
    for _ in range(5):
        found.turned()
        hands.pass_seconds(60)
    assert ["READY=1"] == manager.got()


def test_a_stop_asks_for_its_grace(manager: Manager, hands: Hands) -> None:
    """A stop is told with the time that it may take."""
    service(manager.address, hands).stopping(65.5)
    assert ["STOPPING=1\nEXTEND_TIMEOUT_USEC=95500000"] == manager.got()


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens-here"])
def test_no_manager_is_no_trouble(hands: Hands, address: str) -> None:
    """A process without a service manager, or whose manager has gone, goes on."""
    found = service(address, hands)
    found.turned()
    found.stopping(1)


def test_a_manager_that_reads_nothing_holds_nothing_up(tmp_path: Path, hands: Hands) -> None:
    """Datagrams that fill the socket of a busy manager are dropped."""
    manager = Manager(str(tmp_path / "notify"))
    with closing(manager.socket):
        found = service(manager.address, hands)
        for number in range(2_000):
            found.send(f"STATUS={number}")
        assert "STATUS=0" == manager.got()[0]

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.cli.commands.import_files import opened
from worker.cli.commands.interruptible import StoppedError, StopSignal, stoppable


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """Listen to signals."""
    with stoppable() as stop:
        yield stop


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Make a named pipe that is not open yet."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_what_comes_is_read_to_its_end(stop: StopSignal, pipe: Path) -> None:
    """A list through a pipe is read to its last byte."""
    with opened(str(pipe), stop) as stream:
        with pipe.open("wb", buffering=0) as sink:
            sink.write(b"url\nhttps://x.example/1.mp4\n")
        assert b"url\nhttps://x.example/1.mp4\n" == stream.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_before_the_waiting_is_heard(
    stop: StopSignal, pipe: Path, number: int
) -> None:
    """A signal that came between two reads ends the next read at once."""
    with opened(str(pipe), stop) as stream, pipe.open("wb"):
        signal.raise_signal(number)
        assert number == stop.signal
        for _ in range(2):
            with pytest.raises(StoppedError):
                stream.readline()


def test_a_signal_ends_the_waiting_for_one_list_of_many(stop: StopSignal, tmp_path: Path) -> None:
    """A signal ends the wait for any of several open lists."""
    paths = [tmp_path / "one", tmp_path / "another"]
    for path in paths:
        os.mkfifo(path)
    main = threading.main_thread().ident
    assert main is not None
    with opened(str(paths[0]), stop) as stream, opened(str(paths[1]), stop):
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(StoppedError):
            stream.readline()


def test_a_signal_only_tells_where_nothing_is_waited_for(stop: StopSignal) -> None:
    """A signal outside a read is only noted, and raises nothing."""
    signal.raise_signal(signal.SIGTERM)
    assert signal.SIGTERM == stop.signal


def test_afterwards_signals_do_what_they_did() -> None:
    """The signal handlers from before are restored afterwards."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stoppable():
        assert before != [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert -1 == signal.set_wakeup_fd(-1)

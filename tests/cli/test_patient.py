import io
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from worker.cli.patient import interruptible


class HeardError(Exception):
    """What the signal's handler raises."""


def heard(*_: object) -> None:
    """A handler that breaks off whatever waits."""
    raise HeardError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends, and a handler for SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, heard)
    source, sink = os.pipe()
    yield source, sink
    os.close(source)
    signal.signal(signal.SIGUSR1, before)


def test_what_comes_is_read_to_its_end(pipe: tuple[int, int]) -> None:
    """A list through a pipe would lose bytes."""
    source, sink = pipe
    with open(source, "rb", closefd=False) as stream, interruptible(stream) as patient:
        os.write(sink, b"url\nhttps://x.example/1.mp4\n")
        os.close(sink)
        assert b"url\nhttps://x.example/1.mp4\n" == patient.read()


def test_a_signal_from_before_the_waiting_is_heard(pipe: tuple[int, int]) -> None:
    """Ctrl-C between two reads would wait for the next line, for ever on a silent terminal."""
    source, sink = pipe
    with open(source, "rb", closefd=False) as stream, interruptible(stream) as patient:
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR1)).start()
        with pytest.raises(HeardError):
            patient.readline()
    os.close(sink)


def test_a_signal_that_raises_nothing_leaves_the_list_whole(pipe: tuple[int, int]) -> None:
    """A signal that only asks to stop later would break a list off in the middle of a line."""
    source, sink = pipe
    signal.signal(signal.SIGUSR1, lambda *_: None)
    with open(source, "rb", closefd=False) as stream, interruptible(stream) as patient:
        os.write(sink, b"half a ")
        signal.raise_signal(signal.SIGUSR1)
        os.write(sink, b"line\n")
        assert b"half a line\n" == patient.readline()
    os.close(sink)


def test_a_stream_without_a_descriptor_is_taken_as_it_is() -> None:
    """An import from memory would be refused."""
    stream = io.BytesIO(b"url\n")
    with interruptible(stream) as patient:
        assert b"url\n" == patient.read()


def test_an_end_whose_handler_was_not_heard_ends_the_waiting(pipe: tuple[int, int]) -> None:
    """What a handler raises inside a finalizer is lost, and the list is waited for to no end."""
    source, sink = pipe
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with open(source, "rb", closefd=False) as stream, interruptible(stream) as patient:
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                patient.readline()
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(sink)

"""Lists that a signal ends, however long they are silent.

A handler that raised would do so in the middle of whatever runs, which may hold a lock, or let go
of what is raised. So a signal is only noted, and whoever waits for a list waits for the signal too.
Only a second one raises, since the database may be waited for without an end.
"""

import io
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

BUFFER_BYTES = 1 << 17


@dataclass(slots=True)
class Stop:
    """The ``signal`` that came, 0 if none has; from then on the file descriptor ``heard`` can be
    read. ``hurried``: another one came.
    """

    heard: int
    signal: int = 0
    hurried: bool = False

    def note(self, number: int, _: object) -> None:
        """A signal came; the second one breaks off whatever runs. Raises KeyboardInterrupt then."""
        if not self.signal:
            self.signal = number
        elif not self.hurried:
            self.hurried = True
            raise KeyboardInterrupt


class StoppedError(Exception):
    """A signal came, and the list is read no further."""


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Listen to SIGINT and SIGTERM; to be used in the main thread, which is the one that gets them.
    No handlers of the event loop: they would not run while a list is waited for.
    """
    heard, caller = os.pipe()
    os.set_blocking(caller, False)
    stop = Stop(heard)
    before = {
        number: signal.signal(number, stop.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    woken = signal.set_wakeup_fd(caller, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(heard)
        os.close(caller)


class _Raw(io.RawIOBase):
    """Reads the file descriptor ``source`` when there is something, until ``stop`` is heard."""

    def __init__(self, source: int, stop: Stop) -> None:
        super().__init__()
        self._source = source
        self._heard = stop.heard
        self._poll = select.poll()
        for descriptor in (source, stop.heard):
            self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Bytes into ``buffer``, 0 at the end. Raises StoppedError, OSError."""
        if any(self._heard == descriptor for descriptor, _ in self._poll.poll()):
            raise StoppedError
        return os.readv(self._source, [buffer])


def interruptible(stream: BinaryIO, stop: Stop) -> BinaryIO:
    """``stream``, whose reading raises StoppedError once ``stop`` is heard; one from memory, which
    nobody waits for, as it is.
    """
    try:
        source = stream.fileno()
    except io.UnsupportedOperation:
        return stream
    return io.BufferedReader(_Raw(source, stop), BUFFER_BYTES)

"""A pipe as a stream whose silence a signal can always break.

A signal that arrives just before a blocking read would be heard only when input comes. So the
reader waits for input or a signal, whichever is first, and reads only what is there.
"""

import io
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

ENDS = {signal.SIGINT, signal.SIGTERM}


class _Raw(io.RawIOBase):
    """Reads ``source`` when it has something, and looks up when ``calls`` has: the numbers of the
    signals that came.
    """

    def __init__(self, source: int, calls: int) -> None:
        super().__init__()
        self._source = source
        self._calls = calls

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Bytes into ``buffer``, 0 at the end; raises what a signal's handler raises."""
        while True:
            ready, _, _ = select.select([self._source, self._calls], [], [])
            if self._calls in ready and ENDS & set(os.read(self._calls, 512)):
                raise KeyboardInterrupt  # its handler's was lost, in a finalizer perhaps
            if self._source in ready:
                data = os.read(self._source, len(buffer))
                buffer[: len(data)] = data
                return len(data)


@contextmanager
def interruptible(stream: BinaryIO) -> Iterator[BinaryIO]:
    """``stream``, or in its place a reader that signals can interrupt where it has a file
    descriptor. To be used in the main thread, which is the one that gets signals.
    """
    try:
        source = stream.fileno()
    except io.UnsupportedOperation:
        yield stream
        return
    calls, caller = os.pipe()
    os.set_blocking(caller, False)
    before = signal.set_wakeup_fd(caller, warn_on_full_buffer=False)
    try:
        yield io.BufferedReader(_Raw(source, calls))
    finally:
        signal.set_wakeup_fd(before)
        os.close(calls)
        os.close(caller)

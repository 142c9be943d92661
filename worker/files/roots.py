"""Open a local file below the folders that are allowed: a regular one, and by no link on the way.

The queue is open to any program, so an address may name anything on this machine. Knows no table
and no network.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from worker.core.file_address import names_of
from worker.core.upload import Identity

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link: name the file that it leads to",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}

_LASTING = {errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENXIO}
"""Errors that a file below a root keeps on every machine, unlike one of the root or of rights."""

LARGEST_NUMBER = 2**63 - 1
"""Of a table; a file system may use one bit more."""

PIECE = 1 << 20
"""Bytes that are read at once to be hashed."""


class AbsentError(Exception):
    """The file cannot be read here and now: another worker may have it."""


class RefusedError(Exception):
    """The file may not be uploaded, wherever it is; the message says why."""


@contextmanager
def opened(roots: Sequence[bytes], path: bytes) -> Iterator[int]:
    """Yield a descriptor of the file at an absolute path, and close it. Raises AbsentError, also
    where reading fails, RefusedError, or AddressError for a path of unsafe names.
    """
    names = names_of(path)
    root = _root_of(roots, names)
    folder = _descend(root, names[:-1])
    try:
        descriptor = _open(names[-1], folder)
    finally:
        os.close(folder)
    try:
        yield descriptor
    except OSError as error:
        raise AbsentError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def root_problem(root: bytes) -> str | None:
    """Return why nothing below a root can be opened on this machine; None if it can."""
    try:
        os.close(_step(root, None))
    except AbsentError as error:
        return str(error)
    return None


def part(
    roots: Sequence[bytes], path: bytes, offset: int, room: memoryview
) -> tuple[Identity, int]:
    """Fill the room with the bytes of a file from ``offset``. Return the marks of the file after
    that, and how many bytes there were. Raises as ``opened``.
    """
    with opened(roots, path) as descriptor:
        size = read(descriptor, offset, room)
        return identity_of(descriptor), size


def digest(roots: Sequence[bytes], path: bytes, offset: int, size: int) -> str:
    """Return the SHA-256 of a part of a file. Raises as ``opened``."""
    whole, room = hashlib.sha256(), memoryview(bytearray(min(PIECE, size)))
    with opened(roots, path) as descriptor:
        for begin in range(offset, offset + size, PIECE):
            left = room[: min(PIECE, offset + size - begin)]
            whole.update(left[: read(descriptor, begin, left)])
        identity_of(descriptor)
    return whole.hexdigest()


def identity_of(descriptor: int) -> Identity:
    """Return the marks of an open file. Raises RefusedError unless it is regular and has one name:
    another name may be that of somebody else's file.
    """
    found = os.fstat(descriptor)
    if (kind := _KINDS.get(stat.S_IFMT(found.st_mode))) is not None:
        raise RefusedError(f"is {kind}")
    if found.st_nlink > 1:
        raise RefusedError(f"has {found.st_nlink} names (hard links): copy it into the folder")
    marks = (found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)
    return Identity(*(mark & LARGEST_NUMBER for mark in marks))


def read(descriptor: int, offset: int, room: memoryview) -> int:
    """Fill the room from ``offset`` on, and return how far; the file ends where it stays empty."""
    done = 0
    while done < len(room) and (more := os.preadv(descriptor, [room[done:]], offset + done)):
        done += more
    return done


def _root_of(roots: Sequence[bytes], names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    for root in roots:
        known = tuple(filter(None, root.split(b"/")))
        if names[: len(known)] == known and len(names) > len(known):
            return known
    raise AbsentError("is in none of upload_roots")


def _descend(root: tuple[bytes, ...], folders: tuple[bytes, ...]) -> int:
    """Return a descriptor of the last of the folders. Links are followed above the root alone."""
    at = _step(b"/" + b"/".join(root), None)
    for name in folders[len(root) :]:
        above, at = at, -1
        try:
            at = _step(name, above)
        finally:
            os.close(above)
    return at


def _step(name: bytes, above: int | None) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        raise _problem(error, name, above) from None


def _open(name: bytes, folder: int) -> int:
    """Open a file that is regular: opening a pipe or a device may already do something."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (kind := _KINDS.get(stat.S_IFMT(found.st_mode))) is not None:
            raise RefusedError(f"is {kind}")
        return os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        raise _problem(error, name, folder) from None


def _problem(error: OSError, name: bytes, folder: int | None) -> Exception:
    if isinstance(error, FileNotFoundError):
        return AbsentError(f"{os.fsdecode(name)!r} is not there")
    is_lasting, shown = folder is not None and error.errno in _LASTING, os.fsdecode(name)
    kind = RefusedError if is_lasting else AbsentError
    with suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return kind(f"{shown!r} is a link: name what it leads to")
    return kind(f"{shown!r}: {error.strerror}")

"""Open a local file below the folders that are allowed: a regular one, and by no link on the way.

The queue is open to any program, so an address may name anything on this machine. Knows no table
and no network.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from worker.core.file_address import names_of

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


class AbsentError(Exception):
    """No root of this worker has the file: another worker may."""


class RefusedError(Exception):
    """The file may not be uploaded, wherever it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The marks by which a file is known again; ``changed_ns``: its mtime in nanoseconds."""

    device: int
    inode: int
    size: int
    changed_ns: int


@contextmanager
def opened(roots: Sequence[bytes], path: bytes) -> Iterator[int]:
    """Yield a descriptor of the file at an absolute path, and close it. Raises AbsentError,
    RefusedError, or AddressError for a path of unsafe names.
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
    finally:
        os.close(descriptor)


def identity_of(descriptor: int) -> Identity:
    """Return the marks of an open file. Raises RefusedError unless it is regular and has one name:
    another name may be that of somebody else's file.
    """
    found = os.fstat(descriptor)
    if (kind := _KINDS.get(stat.S_IFMT(found.st_mode))) is not None:
        raise RefusedError(f"is {kind}")
    if found.st_nlink > 1:
        raise RefusedError(f"has {found.st_nlink} names (hard links): copy it into the folder")
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def read(descriptor: int, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from ``offset``, fewer only where the file ends before."""
    parts, left = [], size
    while left and (part := os.pread(descriptor, left, offset + size - left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def root_problem(root: bytes) -> str | None:
    """Return why a folder cannot be a root; None if it can."""
    if not root.startswith(b"/"):
        return "is no whole path; begin with /"
    try:
        os.close(os.open(root, _FOLDER))
    except OSError as error:
        return _said(error, root)
    return None


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
    return RefusedError(_said(error, name, folder))


def _said(error: OSError, name: bytes, folder: int | None = None) -> str:
    shown = repr(os.fsdecode(name))
    if _is_link(name, folder):
        return f"{shown} is a link: name what it leads to"
    return f"{shown}: {error.strerror}"


def _is_link(name: bytes, folder: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False

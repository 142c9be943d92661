import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from worker.core.file_address import AddressError
from worker.core.upload import Identity
from worker.files.roots import (
    PIECE,
    AbsentError,
    RefusedError,
    digest,
    identity_of,
    opened,
    part,
    read,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with one file, beside a file that is none of its."""
    folder = tmp_path / "media"
    (folder / "talks").mkdir(parents=True)
    (folder / "talks" / "a.mp4").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def taken(descriptor: int, offset: int, size: int) -> bytes:
    """Return what a read brings."""
    room = memoryview(bytearray(size))
    return bytes(room[: read(descriptor, offset, room)])


def content(root: Path, path: Path | bytes, size: int = 100) -> bytes:
    """Return the first bytes of a file below the root."""
    with opened([os.fsencode(root)], os.fsencode(path)) as descriptor:
        identity_of(descriptor)
        return taken(descriptor, 0, size)


def test_a_file_below_a_root_is_read(root: Path) -> None:
    """A regular file is opened, known by its marks and read from anywhere up to its end."""
    path = root / "talks" / "a.mp4"
    found = path.stat()
    with opened([b"/absent", os.fsencode(root)], os.fsencode(path)) as descriptor:
        marks = (found.st_dev, found.st_ino, 10, found.st_ctime_ns)
        assert Identity(*marks) == identity_of(descriptor)
        assert b"3456" == taken(descriptor, 3, 4)
        assert b"89" == taken(descriptor, 8, 4)
        assert b"" == taken(descriptor, 10, 4)


@pytest.mark.parametrize("name", [b"\xff\xfe.mp4", "nein\u202e.mp4".encode(), b"a\nb", b"n" * 255])
def test_a_name_may_be_of_any_bytes(root: Path, name: bytes) -> None:
    """Names are bytes: no UTF-8, line ends and marks of direction are all names."""
    path = os.path.join(os.fsencode(root), name)  # noqa: PTH118 - bytes
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.write(b"x")
    assert b"x" == content(root, path)


def link(root: Path) -> Path:
    """Make a link to a file outside."""
    (root / "link").symlink_to(root.parent / "secret")
    return root / "link"


def link_inside(root: Path) -> Path:
    """Make a link to a file inside."""
    (root / "link").symlink_to(root / "talks" / "a.mp4")
    return root / "link"


def folder_link(root: Path) -> Path:
    """Make a link to a folder on the way."""
    (root / "out").symlink_to(root.parent)
    return root / "out" / "secret"


def hard_link(root: Path) -> Path:
    """Make a second name of a file outside."""
    (root / "hard").hardlink_to(root.parent / "secret")
    return root / "hard"


def pipe(root: Path) -> Path:
    """Make a pipe, which nobody writes."""
    os.mkfifo(root / "pipe")
    return root / "pipe"


def unreadable(root: Path) -> Path:
    """Return a name beside a file in place of a folder."""
    return root / "talks" / "a.mp4" / "b.mp4"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (link, "is a link"),
        (link_inside, "is a link"),
        (folder_link, "'out' is a link"),
        (hard_link, "has 2 names (hard links)"),
        (pipe, "is a pipe"),
        (lambda root: root / "talks", "is a folder"),
        (unreadable, "Not a directory"),
    ],
)
def test_what_is_no_file_of_the_root_is_refused(
    root: Path, make: Callable[[Path], Path], why: str
) -> None:
    """Law 16: links, second names, pipes and folders are never read."""
    with pytest.raises(RefusedError, match=re.escape(why)):
        content(root, make(root))


def test_a_device_is_refused() -> None:
    """Law 16: a device is never read; one of the machine's own, since only root can make one."""
    with pytest.raises(RefusedError, match="is a device"):
        content(Path("/dev"), Path("/dev/null"))


@contextmanager
def modes_count() -> Iterator[None]:
    """Be nobody where the tests are root, for whom the modes of files say nothing."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("closed", ["media", "media/talks", "media/talks/a.mp4"])
def test_what_this_worker_may_not_read_is_left_to_others(closed: str) -> None:
    """Rights are a trouble of one machine, and fail no file."""
    with TemporaryDirectory() as name:  # which others may enter, unlike those of pytest
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "media" / "talks").mkdir(parents=True)
        (folder / "media" / "talks" / "a.mp4").write_bytes(b"0123456789")
        (folder / closed).chmod(0)
        with modes_count(), pytest.raises(AbsentError, match="Permission denied"):
            content(folder / "media", folder / "media" / "talks" / "a.mp4")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda root: root.symlink_to(root.parent / "media"), "is a link: name what it leads to"),
        (lambda root: root.touch(), "Not a directory"),
    ],
)
def test_a_root_that_is_none_is_a_trouble_of_this_worker(
    root: Path, make: Callable[[Path], None], why: str
) -> None:
    """Its files are left to others, and the row says what is wrong."""
    make(root.parent / "other")
    with pytest.raises(AbsentError, match=re.escape(why)):
        content(root.parent / "other", root.parent / "other" / "talks" / "a.mp4")


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(root: Path) -> None:
    """The marks are read from what is open, so a change after the check changes nothing."""
    path = root / "talks" / "a.mp4"
    with opened([os.fsencode(root)], os.fsencode(path)) as descriptor:
        before = identity_of(descriptor)
        path.unlink()
        path.symlink_to(root.parent / "secret")
        assert b"0123" == taken(descriptor, 0, 4)
        assert before.inode == os.fstat(descriptor).st_ino


@pytest.mark.parametrize("path", ["secret", "media/absent.mp4", "media-2/a.mp4", "media"])
def test_what_no_root_has_is_absent(root: Path, path: str) -> None:
    """A file outside of all roots, or not there, is left to other workers."""
    with pytest.raises(AbsentError):
        content(root, root.parent / path)


def test_a_part_has_the_marks_of_its_file(root: Path) -> None:
    """The bytes go into the room that is given; the marks are those after the reading."""
    path, roots = root / "talks" / "a.mp4", [os.fsencode(root)]
    room = memoryview(bytearray(4))
    found, size = part(roots, os.fsencode(path), 8, room)
    assert (b"89\0\0", 2) == (bytes(room), size)
    assert (path.stat().st_ino, path.stat().st_ctime_ns) == (found.inode, found.changed_ns)
    assert hashlib.sha256(b"345").hexdigest() == digest(roots, os.fsencode(path), 3, 3)


def test_an_edit_changes_the_marks_also_where_its_time_is_put_back(root: Path) -> None:
    """A file's mtime can be set by anybody, its ctime by nobody."""
    path, roots = root / "talks" / "a.mp4", [os.fsencode(root)]
    before, times = part(roots, os.fsencode(path), 0, memoryview(b""))[0], path.stat()
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = part(roots, os.fsencode(path), 0, memoryview(b""))[0]
    assert (before.size, before.inode) == (after.size, after.inode)
    assert before != after


def test_a_large_file_is_hashed_piece_by_piece(root: Path) -> None:
    """The hash is that of the whole part, whatever fits into memory."""
    data = os.urandom(2 * PIECE + 3)
    (root / "large").write_bytes(data)
    path = os.fsencode(root / "large")
    assert hashlib.sha256(data[1:]).hexdigest() == digest([os.fsencode(root)], path, 1, len(data))


def test_what_passes_is_waited_for(root: Path) -> None:
    """A read that fails is no refusal: the disk, or the network behind it, may come back."""
    file = opened([os.fsencode(root)], os.fsencode(root / "talks" / "a.mp4"))
    with pytest.raises(AbsentError, match="cannot be read: Bad file descriptor"), file:
        os.read(-1, 1)


def test_a_path_that_leads_back_is_refused(root: Path) -> None:
    """No ``..`` leads out of a root."""
    with pytest.raises(AddressError, match=r"holds a \. or \.\."):
        content(root, os.fsencode(root) + b"/../secret")

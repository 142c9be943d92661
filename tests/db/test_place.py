import os
import re
from pathlib import Path

import pytest

from worker.db import place

ROOT = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"


def mount(point: Path | str, kind: str = "ext4") -> str:
    """Return a line of a mount as Linux writes it."""
    written = re.sub(r"[ \t\n\\]", lambda sign: f"\\{ord(sign[0]):03o}", str(point))
    return f"40 22 0:40 / {written} rw,relatime master:1 shared:2 - {kind} source rw"


def lines(*mounts: str) -> str:
    """Return a list of mounts."""
    return "\n".join((ROOT, *mounts))


def test_a_file_of_its_own_may_be_worked_on(path: Path) -> None:
    """A file with one name on a local disk is right, wherever its folder is mounted from."""
    assert place.problem_of(path, place.mounts()) is None
    for kind in ("ext4", "overlay", "tmpfs", "fuse", "fuseblk", "virtiofs"):
        assert place.problem_of(path, lines(mount(path.parent, kind))) is None


def test_a_file_that_is_not_there_may_be_made(tmp_path: Path) -> None:
    """A file that is to be made has one name yet."""
    assert place.problem_of(tmp_path / "new.db", lines()) is None


def test_a_symbolic_link_is_no_second_name(path: Path) -> None:
    """SQLite keeps one log for a file and the symbolic links to it."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert place.problem_of(link, lines()) is None


def test_a_second_name_is_refused_under_both(path: Path) -> None:
    """A hard link would have a log of its own; the way out leads back to one name."""
    link = path.with_name("link.db")
    os.link(path, link)
    for name in (path, link):
        problem = place.problem_of(name, lines())
        assert problem is not None
        assert "has 2 names (hard links)" in problem
        assert f"-samefile '{name}'" in problem
    link.unlink()
    assert place.problem_of(path, lines()) is None


@pytest.mark.parametrize("name", ["q.db", "a b.db", "a\\b\n.db", "ä\udcff.db"])
def test_a_file_that_is_mounted_alone_is_refused(tmp_path: Path, name: str) -> None:
    """A file that is a mount of its own leaves its log outside, under any name of it."""
    path, link = tmp_path / name, tmp_path / "link.db"
    path.touch()
    link.symlink_to(path)
    for spelled in (path, link):
        problem = place.problem_of(spelled, lines(mount(path)))
        assert problem is not None
        assert "is mounted without its folder" in problem
        assert str(tmp_path) in problem


def test_a_file_on_another_device_is_refused_where_no_mounts_are_listed() -> None:
    """Where the system lists no mounts, a file on another device than its folder is one."""
    device = Path("/proc/self/mountinfo")
    assert "is mounted without its folder" in (place.problem_of(device, "") or "") or (
        device.stat().st_dev == device.parent.stat().st_dev
    )


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "smb2", "9p", "fuse.sshfs", "fuse.s3fs", "ceph"]
)
def test_a_network_is_refused(tmp_path: Path, kind: str) -> None:
    """A file on a network's file system, or one that is to be made there, is refused."""
    for path in (tmp_path / "new.db", tmp_path / "deep" / "new.db"):
        problem = place.problem_of(path, lines(mount(tmp_path.parent, kind)))
        assert problem is not None
        assert problem.startswith(f"is on {kind}, ")


def test_the_nearest_mount_and_the_later_one_count(tmp_path: Path) -> None:
    """Only the file system that holds the file counts."""
    far, near = mount(tmp_path.parent, "nfs"), mount(tmp_path)
    beside = mount(f"{tmp_path}-beside", "nfs")
    over = mount(tmp_path, "nfs")
    assert place.problem_of(tmp_path / "a.db", lines(far, near, beside)) is None
    assert place.problem_of(tmp_path / "a.db", lines(over, near)) is None
    assert place.problem_of(tmp_path / "a.db", lines(near, over)) is not None

"""Judge the place of an SQLite file: its file system, its names and its mount.

SQLite finds the write-ahead log by the name of the file. A file with two names has two logs, and
what one worker has claimed the other buys again.
"""

import os
import re
from pathlib import Path

_NETWORK = re.compile(
    r"(fuse\.)?(9p|afs|beegfs|blobfuse2?|ceph\S*|cifs|coda|curlftpfs|davfs2?|gcsfuse|glusterfs|goofys"
    r"|gpfs|grpcfuse|juicefs\S*|lustre|mfs|moosefs|mountpoint-s3|ncpfs|nfs\d?|ocfs2|orangefs|osxfs"
    r"|prl_fs|pvfs2|rclone|s3fs|smb\w+|sshfs|vboxsf|vmhgfs\S*)"
)
"""File systems of a network or of a host, which share no memory, as the log needs it."""

_MOUNT = re.compile(r"^(?:\S+ ){4}(\S+) .*? - (\S+)", re.MULTILINE)


def mounts() -> str:
    """Return the mounts of this process as Linux lists them, "" on other systems."""
    listed = Path("/proc/self/mountinfo")
    return os.fsdecode(listed.read_bytes()) if listed.exists() else ""


def problem_of(path: Path, listed: str) -> str | None:
    """Return why a file is not safe to work on, by the mounts ``listed``; None if it is."""
    # 1. A network, also for a file that is to be made. 2. Two names. 3. A mount of its own.
    real, kinds = Path(os.path.realpath(path)), dict[str, str]()
    for place, kind in _MOUNT.findall(listed):
        kinds[re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)] = kind
    kind = next((kinds[up] for up in map(str, (real, *real.parents)) if up in kinds), "")
    if _NETWORK.fullmatch(kind):
        return f"is on {kind}, which keeps no log for several programs: keep it on a local disk"
    if real.exists() and (names := real.stat().st_nlink) > 1:
        return (
            f"has {names} names (hard links), each with a log of its own, so that videos would be "
            "bought twice: keep the one that has a -wal file beside it, if one has, and remove the "
            f"others, which find / -xdev -samefile '{real}' shows"
        )
    devices = {each.stat().st_dev for each in (real, real.parent) if each.exists()}
    if str(real) in kinds or (not kinds and len(devices) > 1):
        return (
            "is mounted without its folder, so that its log stays outside and videos would be "
            f"bought twice: keep it in a folder of its own, and mount that one at {real.parent}"
        )
    return None

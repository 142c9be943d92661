"""Write a path that a person typed, or that a pattern finds, as the address of a row. The file must
be here, and one that is uploaded. Knows no table and no network.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from glob import iglob
from pathlib import Path

from worker.core.file_address import AddressError, address_of, is_file, path_of
from worker.core.redact import readable
from worker.core.upload import Identity
from worker.files.looking import inspect

_WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PATH = re.compile(r"\.{0,2}/")


class PathError(ValueError):
    """The path names no file that this machine may upload; the message says the way out."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder that paths begin in, and the folders below which files are uploaded."""

    folder: Path
    roots: Sequence[bytes]

    def address(self, text: str) -> str:
        """Return what is typed as an address: a path as that of its file, a ``file:`` in its plain
        spelling, and anything else as it is. Raises PathError.
        """
        if is_file(text):
            try:
                return address_of(path_of(text))
            except AddressError:
                return text  # the row's own check says what is wrong
        if not text or _WEB.match(text):
            return text
        path, first = self.folder / text, self.folder / text.partition("/")[0]
        if not (_PATH.match(text) or os.path.lexists(first)):
            return text
        try:
            real = os.path.realpath(os.fsencode(path))
        except ValueError:  # holds what no name can
            return text
        plain = os.path.normpath(os.fsencode(self.folder.resolve() / text))
        return self._checked(real, None if real == plain else text)

    def _checked(self, real: bytes, link: str | None) -> str:
        """Return the address of a path without links, spelled as the root that it is below.
        ``link``: what was typed, if that leads to it by a link.
        """
        inside = [r for r in self.roots if real.startswith(os.path.realpath(r) + b"/")]
        if inside:
            real = inside[0].rstrip(b"/") + real[len(os.path.realpath(inside[0])) :]
        if _is_missing(real):
            way = "(a relative one begins in this folder, or in that of its list)"
            raise PathError(f"{os.fsdecode(real)!r} is not there; correct the path {way}")
        try:
            seen = inspect(real, self.roots)
        except AddressError as error:
            raise PathError(f"{os.fsdecode(real)!r} {error}") from None
        if isinstance(seen, Identity):
            return address_of(real)
        shown, remedy, reason = os.fsdecode(real), seen.remedy, seen.reason.removeprefix("url: ")
        if not inside and os.path.lexists(real):
            if link is not None:  # perhaps laid by somebody else: no reason to open that folder
                reason = f"is a link to {shown!r}, which {reason}"
                raise PathError(f"{link!r} {reason}; hand in the file itself, or leave it")
            folders = ":".join([*map(os.fsdecode, self.roots), str(Path(shown).parent)])
            value = shlex.quote(readable(folders))
            remedy = f"set the setting, as with export WORKER_UPLOAD_ROOTS={value}"
        raise PathError(f"{shown!r}: {reason}; {remedy}")


def _is_missing(path: bytes) -> bool:
    """Return True if nothing is there; False also where the system does not tell."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def found(pattern: str, media_id: str | None) -> list[dict[str, str]]:
    """Return the path of each file that a pattern finds, in order, with a media id made of its
    name: ``{stem}``, ``{name}`` and ``{folder}`` stand for its parts. Raises ValueError for a
    pattern that finds no file, and a media id of other parts.
    """
    rows = [
        {"url": str(path), "media_id": _named(media_id, path)}
        for path in sorted(Path.cwd() / name for name in iglob(pattern, recursive=True))  # noqa: PTH207 - whole paths too
        if not path.is_dir()
    ]
    if not rows:
        raise ValueError(f"--files {pattern!r} finds no file; ** stands for any folders")
    return rows if media_id else [{"url": row["url"]} for row in rows]


def _named(media_id: str | None, path: Path) -> str:
    parts = {"stem": path.stem, "name": path.name, "folder": path.parent.name}
    try:
        return (media_id or "").format_map(parts)
    except (KeyError, ValueError, IndexError, AttributeError):
        raise ValueError(
            f"--media-id {media_id!r} cannot be read; it may hold {{stem}}, {{name}}, {{folder}}"
        ) from None

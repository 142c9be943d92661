"""Read ``file:`` addresses as paths, and write paths as addresses. Opens no file."""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

SCHEME = "file:"
LONGEST_NAME = 255
"""Bytes of one name of a path, by the file systems of Linux."""

_HERE = ("", "localhost")
_UNSAFE = {b"", b".", b".."}
_CONTROL = re.compile("[\x01-\x1f\x7f-\x9f]")
"""What a reader of addresses may drop, or takes for their end. NUL has a sentence of its own."""


class AddressError(ValueError):
    """The address names no local file; the message says the way out."""


def is_file(url: str) -> bool:
    """Return True for the address of a local file."""
    return url[: len(SCHEME)].lower() == SCHEME


def path_of(url: str) -> bytes:
    """Return the absolute path in a ``file:`` address. Raises AddressError if it holds none."""
    if found := _CONTROL.search(url):
        raise AddressError(f"holds U+{ord(found[0]):04X}; take it out, or percent-encode it")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise AddressError(f"is no readable address ({error}); correct it") from None
    if parts.netloc.lower() not in _HERE:
        raise AddressError(
            f"names the machine {parts.netloc}; begin with file:/// and mount its files here"
        )
    if parts.query or parts.fragment:
        raise AddressError("holds a ? or #; write them as %3F and %23")
    try:
        path = unquote_to_bytes(parts.path)
    except UnicodeEncodeError:
        raise AddressError("holds bytes that are not UTF-8; percent-encode them") from None
    if not path.startswith(b"/"):
        raise AddressError("names no whole path; begin with file:/// and the whole path")
    return path


def names_of(path: bytes) -> tuple[bytes, ...]:
    """Return the names on the way of an absolute path. Raises AddressError for a path that leads
    back or nowhere.
    """
    names = tuple(path.split(b"/")[1:])
    if b"\0" in path:
        raise AddressError("holds a NUL character; take it out")
    if _UNSAFE & {*names}:
        raise AddressError("holds a . or .. or an empty name; write the plain path")
    if any(len(name) > LONGEST_NAME for name in names):
        raise AddressError(f"holds a name of more than {LONGEST_NAME} bytes; shorten it")
    return names


def address_of(path: bytes) -> str:
    """Return the ``file:`` address of an absolute path."""
    return f"file://{quote_from_bytes(path)}"


def plain(url: str) -> str:
    """Return the one spelling of a file's address. Raises AddressError for what is none."""
    return address_of(b"/" + b"/".join(names_of(path_of(url))))


def problem(url: str) -> str | None:
    """Return why a ``file:`` address names no file; None if it may."""
    try:
        plain(url)
    except AddressError as error:
        return str(error)
    return None

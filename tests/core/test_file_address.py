import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.file_address import (
    AddressError,
    address_of,
    is_file,
    names_of,
    path_of,
    plain,
    problem,
)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///media/a.mp4", b"/media/a.mp4"),
        ("FILE:///media/a%20b.mp4", b"/media/a b.mp4"),
        ("file://localhost/media/a.mp4", b"/media/a.mp4"),
        ("file:/media/a.mp4", b"/media/a.mp4"),
        ("file:///media/%FF.mp4", b"/media/\xff.mp4"),
        ("file:///media/\xe4.mp4", "/media/\xe4.mp4".encode()),
    ],
)
def test_an_address_names_a_path(url: str, path: bytes) -> None:
    """Every spelling of a local file is read, percent signs and bytes that are no UTF-8 too."""
    assert is_file(url)
    assert path == path_of(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file://nas/media/a.mp4", "names the machine nas"),
        ("file:a.mp4", "names no whole path"),
        ("file://", "names no whole path"),
        ("file:///a?b", "holds a ? or #"),
        ("file:///a#b", "holds a ? or #"),
        ("file://[/a", "is no readable address"),
        ("file:///srv/a\nb.mp4", "holds U+000A; take it out, or percent-encode it"),
        ("file:///srv/a\tb.mp4", "holds U+0009"),
        ("file:///srv/a.mp4\r", "holds U+000D"),
        ("file:///srv/a\x85.mp4", "holds U+0085"),
        ("file:///srv/a\x7f.mp4", "holds U+007F"),
        ("file:///srv/\udcff.mp4", "holds bytes that are not UTF-8; percent-encode them"),
    ],
)
def test_an_address_without_a_path_is_refused(url: str, why: str) -> None:
    """An address that names no file of this machine says what is wrong with it."""
    with pytest.raises(AddressError, match=re.escape(why)):
        path_of(url)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"/media/../etc/shadow", "holds a . or .."),
        (b"/media/./a", "holds a . or .."),
        (b"/media//a", "or an empty name"),
        (b"/media/a/", "or an empty name"),
        (b"/media/a\0b", "holds a NUL"),
        (b"/media/" + b"a" * 256, "more than 255 bytes"),
    ],
)
def test_a_path_that_leads_back_is_refused(path: bytes, why: str) -> None:
    """A path is taken by its plain names alone."""
    with pytest.raises(AddressError, match=re.escape(why)):
        names_of(path)


@given(st.binary(min_size=1).map(lambda name: b"/" + name))
def test_an_address_gives_its_path_back(path: bytes) -> None:
    """A path survives being written as an address."""
    assert path == path_of(address_of(path))


def test_other_addresses_are_no_files() -> None:
    """A link to the web is none."""
    assert not is_file("https://e.org/file:/a")


def test_an_address_has_one_plain_spelling() -> None:
    """However it is written, the same file has the same address."""
    for url in ("file:/media/a%62.mp4", "FILE://localhost/media/ab.mp4", "file:///media/ab.mp4"):
        assert "file:///media/ab.mp4" == plain(url)
    with pytest.raises(AddressError):
        plain("file:///media/../ab.mp4")


def test_the_problem_of_an_address_is_told() -> None:
    """None where it may name a file."""
    assert problem("file:///media/a.mp4") is None
    assert "holds a . or .." in str(problem("file:///media/../a.mp4"))

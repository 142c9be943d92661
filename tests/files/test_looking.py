import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from worker.core.file_address import address_of
from worker.core.preflight import Weight
from worker.core.upload import LARGEST
from worker.files.looking import STILL, look


def later() -> datetime:
    """Return a moment at which a file that was just written is still."""
    return datetime.now(UTC) + 2 * STILL


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a root with a file."""
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"0123456789")
    return folder


def seen(media: Path, path: Path, now: datetime | None = None) -> tuple[int, list[tuple[str, str]]]:
    """Return what a look at a path sees: its size, and each finding's weight and reason."""
    shown = look({"url": address_of(os.fsencode(path))}, [os.fsencode(media)], now or later())
    assert all(each.remedy for each in shown.found)
    return shown.size, [(each.weight, each.reason) for each in shown.found]


def test_a_good_file_has_its_size(media: Path) -> None:
    """There is nothing against it."""
    assert (10, []) == seen(media, media / "a.mp4")


@pytest.mark.parametrize(
    "url", [None, "https://a.example/b.mp4", "file:x", "file:///a/../b", "file:///\udcff"]
)
def test_what_is_no_file_is_not_looked_at(media: Path, url: str | None) -> None:
    """Nor an address that the row's own check refuses."""
    shown = look({"url": url}, [os.fsencode(media)], later())
    assert (0, ()) == (shown.size, shown.found)


def test_what_is_elsewhere_is_to_be_looked_at(media: Path, tmp_path: Path) -> None:
    """Another machine may have it."""
    (tmp_path / "b.mp4").touch()
    assert (0, [(Weight.LOOK, "url: is in none of upload_roots")]) == seen(
        media, tmp_path / "b.mp4"
    )
    assert (0, [(Weight.LOOK, "url: 'c.mp4' is not there")]) == seen(media, media / "c.mp4")


def test_what_cannot_be_uploaded_surely_fails(media: Path) -> None:
    """A link, a pipe, what is empty or too large, by the file itself."""
    (media / "link.mp4").symlink_to(media / "a.mp4")
    os.mkfifo(media / "pipe.mp4")
    (media / "empty.mp4").touch()
    (media / "large.mp4").touch()
    os.truncate(media / "large.mp4", LARGEST + 1)
    found = {
        name: seen(media, media / f"{name}.mp4") for name in ("link", "pipe", "empty", "large")
    }
    assert {Weight.SURELY} == {each[0] for _, all_found in found.values() for each in all_found}
    assert {0} == {size for size, _ in found.values()}
    reasons = [reason for _, all_found in found.values() for _, reason in all_found]
    assert "url: is a link: name the file that it leads to" == reasons[0]
    assert ["url: is a pipe", "url: is empty"] == reasons[1:3]
    assert reasons[3].startswith("url: has 7,000,000,001 bytes")


@pytest.mark.parametrize(("ago", "told"), [(-59, 1), (0, 1), (59, 1), (61, 0), (-61, 0)])
def test_what_has_just_changed_is_perhaps_being_written(media: Path, ago: int, told: int) -> None:
    """A minute without a change, and it is taken for whole; clocks may differ."""
    changed = (media / "a.mp4").stat().st_ctime
    now = datetime.fromtimestamp(changed, UTC) + timedelta(seconds=ago)
    finding = (Weight.PROBABLY, "url: has changed within a minute")
    assert (10, [finding] * told) == seen(media, media / "a.mp4", now)

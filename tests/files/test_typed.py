import os
from pathlib import Path

import pytest

from worker.files.typed import PathError, Place, found

NAMES = [
    "plain.mp4",
    "with space & amp;.mp4",
    "a,b;c|d.mp4",
    "100%25?#.mp4",
    "two\nlines.mp4",
    "\u202ebidi.mp4",
    "ä.mp4",
    "x" * 251 + ".mp4",
    os.fsdecode(b"\xff\xfe.mp4"),
]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a root with a folder of files."""
    folder = tmp_path / "media"
    (folder / "talks").mkdir(parents=True)
    (folder / "talks" / "a.mp4").write_bytes(b"0123456789")
    (tmp_path / "other.mp4").write_bytes(b"other")
    return folder


def place(media: Path, folder: Path | None = None) -> Place:
    """Return the place where paths begin in this folder, by default in that of the root."""
    return Place(folder or media, [os.fsencode(media)])


@pytest.mark.parametrize("name", NAMES)
def test_a_path_of_any_name_becomes_its_address(media: Path, name: str) -> None:
    """Relative or whole, whatever it holds; the address names the file's bytes."""
    (media / name).write_bytes(b"x")
    for text in (name, f"./{name}", str(media / name), f"talks/../{name}"):
        address = place(media).address(text)
        assert address.isascii()
        assert f"file://{media}/" == address[: len(f"file://{media}/")]
        assert os.fsencode(name) == os.fsencode(media / name)[len(os.fsencode(media)) + 1 :]
        assert address == place(media).address(address)


def test_a_path_begins_where_it_is_written(media: Path) -> None:
    """One in a list is relative to the list."""
    want = f"file://{media}/talks/a.mp4"
    assert want == place(media, media / "talks").address("a.mp4")
    assert want == place(media, media / "talks").address("../talks/a.mp4")
    assert want == place(media).address("talks/a.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "n/a",
        "example.com/a.mp4",
        "https://example.com/a.mp4",
        "HTTPS://example.com/a.mp4",
        "valossaupload://x",
        "s3://x/y.mp4",
        "C:/x.mp4",
        "file://host/a.mp4",
        "file:a.mp4",
        "/a\0b",
        "/\ud800",
    ],
)
def test_what_is_no_path_stays_as_it_is(media: Path, text: str) -> None:
    """The check of a row says what is wrong with it."""
    assert text == place(media).address(text)


def test_an_address_of_a_file_has_one_spelling(media: Path) -> None:
    """So that it is known again; it need not be here, since another machine may have it."""
    for text in ("file:///v/%61%20b.mp4", "FILE:/v/a%20b.mp4", "file://localhost/v/a%20b.mp4"):
        assert "file:///v/a%20b.mp4" == place(media).address(text)


def test_a_root_below_a_link_is_the_root_of_its_files(media: Path, tmp_path: Path) -> None:
    """By whatever way a person names the file, its address begins with the root as it is set."""
    (tmp_path / "link").symlink_to(media)
    linked = Place(tmp_path, [os.fsencode(tmp_path / "link" / "talks") + b"/"])
    want = f"file://{tmp_path}/link/talks/a.mp4"
    assert want == linked.address("media/talks/a.mp4")
    assert want == linked.address("link/talks/a.mp4")


def test_a_root_that_is_a_link_is_refused(media: Path, tmp_path: Path) -> None:
    """Whoever can change the link would choose what is uploaded."""
    (tmp_path / "link").symlink_to(media)
    with pytest.raises(PathError, match="link' is a link"):
        Place(tmp_path, [os.fsencode(tmp_path / "link")]).address("link/talks/a.mp4")


def test_a_link_below_a_root_is_followed_when_it_is_typed(media: Path, tmp_path: Path) -> None:
    """The row gets the file that it leads to; one that leads out of all roots is refused."""
    (media / "inside.mp4").symlink_to(media / "talks" / "a.mp4")
    (media / "out.mp4").symlink_to(tmp_path / "other.mp4")
    (media / "folder").symlink_to(tmp_path)
    assert f"file://{media}/talks/a.mp4" == place(media).address("inside.mp4")
    for text in ("out.mp4", "folder/other.mp4"):
        with pytest.raises(PathError) as told:
            place(media).address(text)
        why = f"{text!r} is a link to '{tmp_path}/other.mp4', which is in none of upload_roots"
        assert f"{why}; hand in the file itself, or leave it" == str(told.value)


def test_a_file_outside_of_all_roots_is_refused(media: Path, tmp_path: Path) -> None:
    """The way out is the setting, also where the root is named by another way."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path)
    linked = Place(tmp_path / "elsewhere" / "link", [os.fsencode(media)])
    for here, text in ((place(media), "../other.mp4"), (linked, "other.mp4")):
        with pytest.raises(PathError, match=r"other\.mp4': is in none of upload_roots; set"):
            here.address(text)


def test_without_roots_the_setting_is_named(media: Path) -> None:
    """The message has the command that helps."""
    with pytest.raises(PathError, match=f"export WORKER_UPLOAD_ROOTS={media}/talks$"):
        Place(media, []).address("talks/a.mp4")


def test_the_roots_that_are_set_are_kept_by_the_way_out(media: Path) -> None:
    """Else a worker that is started with it would read the files of the others no more."""
    with pytest.raises(PathError, match=f"export WORKER_UPLOAD_ROOTS=/srv/a:/b:{media}/talks$"):
        Place(media, [b"/srv/a", b"/b"]).address("talks/a.mp4")


def test_a_root_that_is_a_link_is_not_named_as_the_setting(media: Path) -> None:
    """The setting has it, and the message says what to write instead."""
    (media.parent / "other").symlink_to(media)
    why = "other' is a link: name what it leads to; start a worker that may read the file, with "
    with pytest.raises(PathError, match=why):
        Place(media, [os.fsencode(media.parent / "other")]).address("talks/a.mp4")


def test_a_file_that_cannot_be_uploaded_is_refused(media: Path) -> None:
    """The message says what it is, and nothing is opened that may do something."""
    os.mkfifo(media / "pipe.mp4")
    (media / "empty.mp4").touch()
    (media / "twin.mp4").hardlink_to(media / "talks" / "a.mp4")
    for text, why in {
        "talks": "is a folder",
        "pipe.mp4": "is a pipe",
        "twin.mp4": "has 2 names",
        "empty.mp4": "is empty",
        "/dev/null": "is in none of upload_roots",
    }.items():
        with pytest.raises(PathError, match=why):
            place(media).address(text)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("./none.mp4", "{media}/none.mp4"),
        ("talks/none.mp4", "{media}/talks/none.mp4"),
        ("talks/no/none.mp4", "{media}/talks/no/none.mp4"),
        ("/nowhere/none.mp4", "/nowhere/none.mp4"),
        ("./talks/a.mp4/none.mp4", "{media}/talks/a.mp4/none.mp4"),
        ("dangling.mp4", "{media}/none.mp4"),
    ],
)
def test_a_path_to_nothing_is_to_be_corrected(media: Path, text: str, missing: str) -> None:
    """A path is known by how it begins, or by its first folder; roots and workers do not matter."""
    (media / "dangling.mp4").symlink_to("none.mp4")
    for roots in ([], [os.fsencode(media)]):
        with pytest.raises(PathError) as told:
            Place(media, roots).address(text)
        way = "correct the path (a relative one begins in this folder, or in that of its list)"
        assert f"{missing.format(media=media)!r} is not there; {way}" == str(told.value)


def test_a_hostile_name_is_shown_harmless(media: Path) -> None:
    """No message has a name's control characters, or bytes that are no text."""
    for name in ("\x1b[31m\u202e\n.mp4", os.fsdecode(b"\xff.mp4")):
        with pytest.raises(PathError) as told:
            place(media).address(f"./{name}")
        assert str(told.value).isprintable()


def test_a_pattern_finds_files(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, by whole paths, in all folders; never a folder."""
    (media / "b.mp4").touch()
    (media / "talks" / "deep.mp4").mkdir()
    (media / ".hidden.mp4").touch()
    monkeypatch.chdir(media)
    paths = [str(media / "b.mp4"), str(media / "talks" / "a.mp4")]
    assert paths == [row["url"] for row in found("**/*.mp4", None)]
    assert paths == [row["url"] for row in found(f"{media}/**/*.mp4", None)]
    assert [{"url": paths[1], "media_id": "talks-a_a.mp4"}] == found(
        "talks/*.mp4", "{folder}-{stem}_{name}"
    )


@pytest.mark.parametrize("media_id", ["{number}", "{", "{0}", "{stem.x}"])
def test_a_media_id_of_other_parts_is_refused(
    media: Path, monkeypatch: pytest.MonkeyPatch, media_id: str
) -> None:
    """The message says which there are."""
    monkeypatch.chdir(media)
    with pytest.raises(ValueError, match=r"it may hold \{stem\}, \{name\}, \{folder\}"):
        found("**/*.mp4", media_id)


def test_a_pattern_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    """Nothing is imported silently."""
    with pytest.raises(ValueError, match=r"\*.mp4' finds no file"):
        found(f"{tmp_path}/*.mp4", None)

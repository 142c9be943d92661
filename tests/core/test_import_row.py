from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.advice import GIVEN_UP
from worker.core.import_row import (
    COLUMNS,
    EXPORT_ONLY,
    JOB_NOT_TAKEN,
    ImportMapping,
    RejectedError,
    admit,
    marked,
    notes,
    zero_twins,
)
from worker.core.preflight import kind_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
URL = "https://example.org/a.mp4"
SIGNED = f"{URL}?Signature=S&AWSAccessKeyId=A&Expires="


def plan(
    theirs: dict[str, str] | None = None,
    fixed: dict[str, str] | None = None,
    margin: timedelta = timedelta(hours=6),
) -> ImportMapping:
    """Return how an import reads rows."""
    return ImportMapping(theirs=theirs or {}, fixed=fixed or {}, margin=margin)


def reason(values: dict[str, object], how: ImportMapping | None = None) -> str:
    """Return why a row is rejected."""
    with pytest.raises(RejectedError) as caught:
        admit({"url": URL, **values}, how or plan(), NOW)
    return str(caught.value)


def test_every_column_is_taken_in_its_own_type() -> None:
    """Every column of a row is taken unchanged, in its own type."""
    row = {
        "url": URL,
        "media_id": "talk-1",
        "title": "Ää 🎬",
        "description": "two\nlines",
        "language": "fi-FI",
        "transcript_url": "https://example.org/a.srt",
        "face_min_relative_height": "0.25",
        "face_gallery_id": "g",
        "email_group": "team",
        "callback_url": "https://example.org/done",
        "priority": "-5",
        "due_at": "2026-01-31 08:00:00",
        "batch": "talks.csv 2026-01-31",
    }
    due_at = datetime(2026, 1, 31, 8, tzinfo=UTC)
    expected = {**row, "face_min_relative_height": 0.25, "priority": -5, "due_at": due_at}
    assert expected == admit(row, plan(), NOW)
    assert set(COLUMNS) == {*expected, "job_id"}


def test_what_is_empty_is_left_out() -> None:
    """An empty cell says nothing: the row takes the default, and no empty text is sent."""
    blank = dict.fromkeys(COLUMNS, " \t\n")
    assert {"url": URL} == admit({**blank, "url": f" {URL} "}, plan(), NOW)
    assert {"url": URL} == admit({**dict.fromkeys(COLUMNS), "url": URL}, plan(), NOW)


def test_columns_are_filled_by_map_and_set() -> None:
    """--map takes their column, --set one value for all rows, which wins; other columns are not
    looked at.
    """
    how = plan(theirs={"media_id": "id", "title": "name"}, fixed={"language": "fi-FI"})
    values = {"id": 7, "name": "A talk", "title": "not this", "language": "en-US", "url": URL}
    expected = {"url": URL, "media_id": "7", "title": "A talk", "language": "fi-FI"}
    assert expected == admit(values, how, NOW)
    assert ("url", "media_id", "title", "language") == how.named(values)
    assert {"url": URL} == admit({"url": URL, "title": "x"}, plan(fixed={"title": ""}), NOW)


@pytest.mark.parametrize(
    ("theirs", "fixed", "present", "unused"),
    [
        ({}, {}, ["url", "lang"], {"lang": "language"}),
        ({}, {}, ["url", "ID", "Name", "desc"], {"ID": "media_id", "Name": "title", "desc": "d"}),
        ({}, {}, ["link", "srt", "callback"], {"link": "url", "srt": "t", "callback": "c"}),
        ({}, {}, ["url", "titel", "Duration", "description "], {"titel": None, "Duration": None}),
        ({}, {}, ["url", "speakers"], {"speakers": None}),
        ({}, {}, ["url", ""], {"": None}),
        ({"media_id": "id"}, {}, ["url", "id"], {}),
        ({"media_id": "key"}, {}, ["url", "id", "key"], {"id": None}),
        ({"title": "name"}, {}, ["url", "name", "title"], {"title": None}),
        ({}, {"language": "fi-FI"}, ["url", "language"], {"language": None}),
        ({}, {}, ["url", "language", "lang"], {"lang": None}),
        ({}, {}, list(COLUMNS), {}),
        ({}, {}, ["url", *EXPORT_ONLY], {}),
    ],
)
def test_a_column_that_is_not_used_is_named_with_what_it_may_be_meant_for(
    theirs: dict[str, str],
    fixed: dict[str, str],
    present: list[str],
    unused: dict[str, str | None],
) -> None:
    """An unused column is named, with ours if it is a known alias of one that is still empty."""
    short = {"d": "description", "t": "transcript_url", "c": "callback_url"}
    expected = {name: short.get(meant or "", meant) for name, meant in unused.items()}
    assert expected == plan(theirs=theirs, fixed=fixed).unused(present)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("URL", "url"),
        ("\ufeff\ufeffUrl\xa0", "url"),
        (" Title ", "title"),
        ('"Media ID"', "media_id"),
        ("media-id", "media_id"),
        ("mediaId", "media_id"),
        ("CALLBACK\xa0URL:", "callback_url"),
        ("Face min. relative height", "face_min_relative_height"),
    ],
)
def test_a_column_is_found_in_another_spelling(name: str, column: str) -> None:
    """Case, spaces, hyphens and marks make no other column of a name."""
    value = {"url": URL, "face_min_relative_height": "0.5"}.get(column, "https://e.org/x")
    values = {**({} if column == "url" else {"url": URL}), name: value}
    assert (column in plan().named(values), plan().unused(values)) == (True, {})
    assert value == str(admit(values, plan(), NOW)[column])


def test_a_spelling_that_is_not_alone_is_not_used() -> None:
    """Of two spellings the exact one is taken, or none; one that --map has taken is left alone."""
    both = {"url": URL, "URL": "https://e.org/2"}
    assert (URL, {"URL": None}) == (admit(both, plan(), NOW)["url"], plan().unused(both))
    assert "url" not in plan().named(["Url", "URL"])
    how = plan(theirs={"title": "Name", "description": "Title"})
    values = {"url": URL, "Name": "A", "Title": "B"}
    assert {"url": URL, "title": "A", "description": "B"} == admit(values, how, NOW)
    assert {"LANGUAGE": None} == plan(fixed={"language": "fi-FI"}).unused(["url", "LANGUAGE"])


def test_an_export_is_known_by_its_columns_in_another_spelling() -> None:
    """``State`` and ``Request ID`` mean what ``state`` and ``request_id`` mean."""
    assert "state: in_doubt, perhaps bought" in reason({"State": "in_doubt"})
    assert "r" == admit({"url": URL, "Request ID": "r"}, plan(), NOW)["request_id"]
    assert {} == plan().unused(["url", "State", "Request ID", "Job ID"])
    row = {"url": URL, "State": "submitted", "Job ID": "j"}
    assert "j" == admit(row, plan(), NOW)["job_id"]


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "#N/A"])
@pytest.mark.parametrize("column", [c for c in COLUMNS if c != "url"])
def test_a_word_for_no_value_is_none(word: str, column: str) -> None:
    """The words that programs write for no value are an empty cell in every column."""
    assert {"url": URL} == admit({"url": URL, column: f" {word} "}, plan(), NOW)
    assert "url: is empty; give the address of the video file" == reason({"url": word})


@pytest.mark.parametrize("word", ["Nan", "null", "none", "n/a", "N/A", "-", "<NA>", "NaT"])
def test_a_title_keeps_a_word_that_people_write(word: str) -> None:
    """Such words in other spellings are no media id, but they may be a title."""
    row = {"url": URL, "media_id": word, "language": word, "title": word, "description": word}
    assert {"url": URL, "title": word, "description": word} == admit(row, plan(), NOW)


@pytest.mark.parametrize("state", ["", "CA", "published"])
def test_a_state_of_another_kind_says_nothing(state: str) -> None:
    """Only a state of ours shows that a row is from an export."""
    values = {"url": URL, "media_id": "7", "state": state, "request_id": ""}
    assert {"url": URL, "media_id": "7"} == admit(values, plan(), NOW)
    assert "failed" == admit({**values, "state": "failed"}, plan(), NOW)["request_id"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'\t=1+1"),
        ("+358 40", "'\t+358 40"),
        ("-dQw4w9WgXcQ", "'\t-dQw4w9WgXcQ"),
        ("@SUM(A1)", "'\t@SUM(A1)"),
        ("\tx", "'\t\tx"),
        ("\rx", "'\t\rx"),
        ("\nx", "'\t\nx"),
        ("\uff1d1", "'\t\uff1d1"),
        ("'\tx", "'\t'\tx"),
        ("x ", "'\tx "),
        ("None", "'\tNone"),
        ("'Twas", "'Twas"),
        ("1=1", "1=1"),
        ("", ""),
        (-5, -5),
        (None, None),
    ],
)
def test_a_text_that_would_not_come_back_is_marked(value: object, written: object) -> None:
    """A formula, or a text that an import reads as another, begins with the mark; no other does."""
    assert written == marked("title", value, FORMULAS)
    assert value == marked("error", value)
    assert marked("title", value) in {value, written}


FORMULAS = tuple("=+-@\t\r\n\uff1d")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(
    ["nan", "None", "-", "=1", "'\t", "'\t=1", " x", "x ", "\r", "\ufeff", "'", "''"]
)


@given(st.sampled_from(["title", "description", "media_id", "email_group"]), TEXTS)
def test_a_marked_text_is_read_as_it_was(column: str, text: str) -> None:
    """Every text comes back from its cell as it was, and no cell begins as a formula does."""
    cell = str(marked(column, text, FORMULAS))
    assert {"url": URL, **({column: text} if text else {})} == admit(
        {"url": URL, column: cell}, plan(), NOW
    )
    assert cell[:1] not in set("=+-@\t\r\n")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"url": None}, "url: is empty; give the address of the video file"),
        ({"url": "  "}, "url: is empty; give the address of the video file"),
        ({"url": "example.org/a.mp4"}, "url: must begin with http"),
        ({"url": "https://"}, "url: names no host"),
        ({"url": 5}, "url: must begin with http"),
        ({"url": [URL]}, "url: must be text, not list; correct it"),
        ({"title": {"en": "A"}}, "title: must be text, not dict; correct it"),
        ({"title": True}, "title: must be text, not bool; correct it"),
        ({"title": "a\ud800b"}, "title: holds bytes that are not UTF-8"),
        ({"title": "a\0b"}, "title: holds a NUL character; take it out"),
        ({"transcript_url": "ftp://example.org/"}, "transcript_url: must begin with http"),
        ({"face_min_relative_height": "high"}, "face_min_relative_height: 'high' is no number"),
        ({"face_min_relative_height": "1.5"}, "face_min_relative_height: 1.5 is not a share"),
        ({"face_min_relative_height": "1e400"}, "face_min_relative_height: inf is not a share"),
        ({"priority": "high"}, "priority: 'high' is no whole number; correct it"),
        ({"priority": 1.5}, "priority: '1.5' is no whole number; correct it"),
        ({"priority": False}, "priority: must be text, not bool; correct it"),
        ({"priority": 10**30}, f"priority: '{10**30}' is too large; choose a smaller number"),
        ({"priority": str(-(2**63))}, "priority: '-9223372036854775808' is too large"),
        ({"priority": "9" * 5000}, f"priority: '{60 * '9'}…' is no whole number; correct it"),
        ({"due_at": "tomorrow"}, "due_at: 'tomorrow' is no moment; write it like YYYY-MM-DD"),
        ({"due_at": 1_767_225_600}, "due_at: '1767225600' is no moment"),
        ({"due_at": "2026-02-30"}, "due_at: '2026-02-30' is no moment"),
        ({"due_at": "0001-01-01"}, "due_at: '0001-01-01' is before 1970; write a later moment"),
        ({"due_at": "1969-12-31 23:59:59"}, "due_at: '1969-12-31 23:59:59' is before 1970"),
        ({"due_at": "9999-12-31"}, "due_at: '9999-12-31' is no moment before 9999-12-31; write an"),
        ({"due_at": "9999-12-30T23:00-05:00"}, "due_at: '9999-12-30T23:00-05:00' is no moment bef"),
        ({"due_at": "0001-01-01T00:00+05:00"}, "due_at: '0001-01-01T00:00+05:00' is no moment"),
        ({"due_at": "9999-12-31T23:59-05:00"}, "due_at: '9999-12-31T23:59-05:00' is no moment"),
        ({"due_at": 2_000_000 * "x"}, f"due_at: '{60 * 'x'}…' is no moment; write it like"),
    ],
)
def test_a_value_that_cannot_be_taken_names_its_column_and_the_way_out(
    values: dict[str, object], why: str
) -> None:
    """One bad cell rejects its row alone, in a sentence of bearable length, whatever it holds."""
    told = reason(values)
    assert why == told[: len(why)]
    assert len(told) == min(len(told), 200)


def test_the_kind_of_a_reject_keeps_its_hint() -> None:
    """A reason without the values of its row still says how to write them."""
    hint = "due_at: … is no moment; write it like YYYY-MM-DD HH:MM:SS, in UTC"
    assert hint == kind_of(reason({"due_at": "31 Jan 2026 at 8"}))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31 08:00:00.5Z", datetime(2026, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T10:00+02:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("1970-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-30 23:59:59", datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str, moment: datetime) -> None:
    """A time with an offset is converted to UTC; one without is UTC."""
    assert moment == admit({"url": URL, "due_at": text}, plan(), NOW)["due_at"]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1, 0])
def test_a_priority_may_be_what_the_database_holds(number: int) -> None:
    """The largest numbers of a column are no error."""
    assert number == admit({"url": URL, "priority": number}, plan(), NOW)["priority"]


@pytest.mark.parametrize(
    ("margin", "seconds", "admitted"),
    [(3600, 3599, False), (3600, 3600, True), (0, -1, False), (0, 0, True)],
)
def test_a_signed_link_must_outlive_the_margin(
    margin: int, seconds: int, *, admitted: bool
) -> None:
    """A link that ends before the API downloads it is rejected with the way out."""
    url = SIGNED + str(int(NOW.timestamp()) + seconds)
    how = plan(margin=timedelta(seconds=margin))
    if admitted:
        assert {"url": url, "unsigned_url": URL} == admit({"url": url}, how, NOW)
    else:
        told = reason({"url": url}, how)
        assert "sign it anew and bring it in with import --update" == told.split(": ")[-1]
        assert "url: signed link" == told[:16]
        assert "Signature" not in told


def test_a_row_that_was_handed_in_comes_with_its_job() -> None:
    """A row with a job id is admitted even if its link has ended."""
    values = {"url": f"{SIGNED}0", "job_id": " j-1 ", "state": "in_doubt"}
    expected = {"url": f"{SIGNED}0", "job_id": "j-1", "unsigned_url": URL}
    assert expected == admit(values, plan(), NOW)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"job_id": 601 * "j"}, "job_id: is no job id of theirs; copy it again"),
        ({"job_id": "j\0"}, "job_id: is no job id of theirs; copy it again"),
        ({"job_id": "j\ud800"}, "job_id: is no job id of theirs; copy it again"),
        ({"job_id": "j", "title": "a\ud800"}, "title: holds bytes that are not UTF-8"),
        ({"job_id": "j", "face_min_relative_height": 5}, "face_min_relative_height: 5.0 is not"),
        ({"job_id": ["j"]}, "job_id: must be text, not list; correct it"),
    ],
)
def test_a_job_id_lets_nothing_in_that_cannot_be_stored(
    values: dict[str, object], why: str
) -> None:
    """The other columns of a row with a job id are checked as usual."""
    assert why == reason({**values, "state": "submitted"})[: len(why)]


@pytest.mark.parametrize(
    ("values", "how", "taken"),
    [
        ({}, plan(), False),
        ({"state": "CA", "request_id": "17", "submitted_at": "yesterday"}, plan(), False),
        ({"state": "submitted"}, plan(), True),
        ({"state": "pending"}, plan(), False),
        ({"state": "failed"}, plan(), False),
        ({"request_id": 8 * "0af3"}, plan(), True),
        ({"submitted_at": "2026-01-31 08:00:00.5"}, plan(), True),
        ({}, plan(theirs={"job_id": "job_id"}), True),
        ({}, plan(fixed={"job_id": "theirs"}), True),
        ({}, ImportMapping(theirs={}, fixed={}, margin=timedelta(), partial=True), False),
        ({"url": ""}, ImportMapping(theirs={}, fixed={}, margin=timedelta(), partial=True), True),
    ],
)
def test_a_job_id_is_the_apis_only_where_something_shows_it(
    values: dict[str, object], how: ImportMapping, *, taken: bool
) -> None:
    """A sender's own column named job_id is not used, and that is noted; a row of an export, a flag
    or a list of jobs for an update brings a job.
    """
    given = {"url": URL, "media_id": "m", "job_id": "theirs", **values}
    row = admit(given, how, NOW)
    assert ("theirs" if taken else None) == row.get("job_id")
    assert ([] if taken else [JOB_NOT_TAKEN]) == [*notes(given, how, row)]


def test_an_own_column_named_job_id_may_hold_anything() -> None:
    """A job_id that is not used rejects no row, whatever it holds."""
    assert {"url": URL} == admit({"url": URL, "job_id": ["j\0"]}, plan(), NOW)


@pytest.mark.parametrize("column", ["url", "transcript_url", "callback_url"])
@pytest.mark.parametrize("how", ["row", "map", "set"])
def test_a_link_is_cleaned_wherever_it_comes_from(column: str, how: str) -> None:
    """Invisible characters around a link are taken off and noted, in every column of links."""
    dirty = "\u200b<https://e.org/x?a=1&amp;b=2>\ufeff"
    name = "theirs" if how == "map" else column
    mapping = plan(theirs={column: name}, fixed={column: dirty} if how == "set" else {})
    values = {"url": URL, **({} if how == "set" else {name: dirty})}
    row = admit(values, mapping, NOW)
    assert "https://e.org/x?a=1&b=2" == row[column]
    points = ("U+003C", "U+003E", "U+200B", "U+FEFF")
    expected = [f"{column}: {point} taken off" for point in points]
    assert [*expected, f"{column}: &amp; or \\u0026 made &"] == [*notes(values, mapping, row)]


def test_a_link_of_nothing_but_blanks_is_none() -> None:
    """A cell of invisible characters is an empty one."""
    assert {"url": URL} == admit({"url": URL, "transcript_url": "\u200b\u00a0"}, plan(), NOW)
    assert "url: is empty" == reason({"url": "\ufeff"})[:13]


@pytest.mark.parametrize(
    "number", ["1,23457E+17", "1.23E+5", "1E+20", "-2,5e+07", 1.2345678901234568e21]
)
def test_a_number_that_a_spreadsheet_has_rounded_is_no_media_id(number: object) -> None:
    """A rounded number is rejected with the way to export the whole one."""
    told = reason({"media_id": number})
    assert f"media_id: {str(number)!r} is a number" == told.partition(" that a spreadsheet")[0]
    assert "format the column as text and export the list again" in told


@pytest.mark.parametrize("name", ["1E5", "12E+", "A1E+5", "1.23", "c++", "1E+5b", "12,3E+4"])
def test_a_media_id_that_resembles_such_a_number_is_taken(name: str) -> None:
    """A media id that no spreadsheet writes is a name like any other."""
    assert name == admit({"url": URL, "media_id": name}, plan(), NOW)["media_id"]


@pytest.mark.parametrize(
    ("name", "widths", "twins"),
    [
        ("7", [], set()),
        ("7", [3, 5], {"007", "00007"}),
        ("007", [], {"7"}),
        ("0007", [3], {"7", "007"}),
        ("1234", [3], set()),
        ("a7", [3], set()),
        ("000", [3], set()),
        ("\u0663", [3], set()),
        (7, [2], {"07"}),
    ],
)
def test_a_number_has_twins_with_other_leading_zeros(
    name: object, widths: list[int], twins: set[str]
) -> None:
    """A number may have lost leading zeros; what is no number has no twin."""
    assert twins == zero_twins(name, widths)


@pytest.mark.parametrize("state", ["submitting", "in_doubt"])
def test_a_row_that_may_have_been_bought_does_not_begin_anew(state: str) -> None:
    """An exported row that may have been bought is rejected."""
    expected = f"state: {state}, perhaps bought; settle it where it was exported first"
    assert expected == reason({"state": state})
    assert {"url": URL} == admit({"url": URL, "state": "failed"}, plan(), NOW)


def test_a_doubt_that_was_given_up_does_not_begin_anew() -> None:
    """An exported row that was given up in doubt is rejected, but for an update and its job."""
    row: dict[str, object] = {"state": "failed", "error": GIVEN_UP}
    assert f"error: {GIVEN_UP}; settle it where it was exported first, or empty" in reason(row)
    update = ImportMapping(theirs={}, fixed={}, margin=timedelta(), partial=True)
    assert {"url": URL} == admit({"url": URL, **row}, update, NOW)
    of_export = {"url": URL, **row, "job_id": "j", "submitted_at": "2026-01-01 00:00:00"}
    assert {"url": URL, "job_id": "j"} == admit(of_export, plan(), NOW)
    assert {"url": URL} == admit({"url": URL, **row, "error": ""}, plan(), NOW)


def test_an_update_names_a_video_by_media_id_or_request_id() -> None:
    """A row without url is admitted to an update by its media id, else by its request id."""
    update = ImportMapping(theirs={}, fixed={}, margin=timedelta(), partial=True)
    assert "7" == admit({"media_id": "7", "request_id": "r"}, update, NOW)["media_id"]
    assert {"request_id": "r"} == admit({"request_id": "r"}, update, NOW)
    with pytest.raises(RejectedError, match="url: is empty"):
        admit({"title": "A"}, update, NOW)


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("\0\ud800:/ "))
    | st.lists(st.none(), max_size=1)
)


def storable(value: object) -> bool:
    """Return True if the table takes it."""
    match value:
        case str():
            return "\0" not in value and value == value.encode(errors="replace").decode()
        case int():
            return abs(value) < 2**63
        case float():
            return 0 <= value <= 1
        case datetime():
            return datetime(1970, 1, 1, tzinfo=UTC) <= value < datetime(9999, 12, 31, tzinfo=UTC)
        case _:
            return False


def admitted_or_blamed(values: dict[str, object]) -> tuple[dict[str, object], str]:
    """Return the row, or the column that its reject names."""
    try:
        return admit(values, plan(), NOW), "url"
    except RejectedError as error:
        return {}, str(error).partition(":")[0]


@given(st.dictionaries(st.sampled_from((*COLUMNS, "state", "x")), ANYTHING))
def test_every_row_is_a_row_of_ours_or_rejected(values: dict[str, object]) -> None:
    """No value of any kind ends an import, and what is admitted can be stored."""
    for given_url in ({}, {"url": URL}):
        row, blamed = admitted_or_blamed({**values, **given_url})
        assert {} == {name: value for name, value in row.items() if not storable(value)}
        assert set(row) == set(row) & {*COLUMNS, "unsigned_url"}
        assert blamed in (*COLUMNS, "state")

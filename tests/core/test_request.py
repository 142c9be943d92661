import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.model import REQUEST_COLUMNS, State, Twin, Video
from worker.core.request import Defaults, Json, body, bought_already, problem

URL = "https://host.example/video.mp4"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = 1_767_225_600
MARGIN = timedelta(hours=6)
ODD = st.sampled_from("\0\ud800\udfff?&=%/#@:[]")
ANY_TEXT = st.lists(st.text() | ODD).map("".join)


def signed(end: int) -> str:
    """Return a signed link that ends at ``end`` (seconds since 1970)."""
    return f"{URL}?AWSAccessKeyId=A&Signature=S&Expires={end}"


def fault(video: Video) -> str | None:
    """Return what is wrong with this video now."""
    return problem(video, NOW, MARGIN)


def test_a_full_video_is_the_documented_body() -> None:
    """Each column is sent in its field of worker/api/README.md, section 3."""
    video = Video(
        url=URL,
        media_id="episode-12",
        title="Title",
        description="What it is about",
        language="fi-FI",
        transcript_url="https://host.example/video.srt",
        face_min_relative_height=0.25,
        face_gallery_id="3b0a7c1e-5e0f-4a0e-9d3c-0c3f2f0f6f5a",
        email_group="users_with_access_to_api_key_results",
        callback_url="https://host.example/done",
    )
    expected: Json = {
        "media": {
            "video": {"url": URL},
            "transcript": {"url": "https://host.example/video.srt"},
            "customer_media_info": {"id": "request-1"},
            "description": "What it is about",
            "title": "Title",
            "language": "fi-FI",
        },
        "analysis_parameters": {
            "face_min_relative_height": 0.25,
            "face_galleries": {"custom_gallery": {"id": "3b0a7c1e-5e0f-4a0e-9d3c-0c3f2f0f6f5a"}},
        },
        "email_notification": {"to_group": "users_with_access_to_api_key_results"},
        "callback": {"url": "https://host.example/done"},
    }
    assert expected == body(video, "request-1", Defaults())


def test_a_minimal_video_says_nothing_more() -> None:
    """An absent column is left out of the request, with its whole branch."""
    expected: Json = {"media": {"video": {"url": URL}, "customer_media_info": {"id": "request-1"}}}
    assert expected == body(Video(url=URL), "request-1", Defaults())


def test_empty_strings_say_nothing() -> None:
    """A column that holds an empty string is left out like one that holds none."""
    empty = Video(
        url=URL,
        media_id="",
        title="",
        description="",
        language="",
        transcript_url="",
        face_gallery_id="",
        email_group="",
        callback_url="",
    )
    assert body(Video(url=URL), "r", Defaults()) == body(empty, "r", Defaults())


@pytest.mark.parametrize("named", [None, ""], ids=["absent", "empty"])
def test_defaults_speak_for_rows_that_do_not(named: str | None) -> None:
    """A row that names no language, callback or group gets those of the settings."""
    video = Video(url=URL, language=named, callback_url=named, email_group=named)
    defaults = Defaults(language="en-US", callback_url="https://host.example/cb", email_group="all")
    expected: Json = {
        "media": {
            "video": {"url": URL},
            "customer_media_info": {"id": "r"},
            "language": "en-US",
        },
        "email_notification": {"to_group": "all"},
        "callback": {"url": "https://host.example/cb"},
    }
    assert expected == body(video, "r", defaults)


def test_a_row_speaks_louder_than_the_defaults() -> None:
    """A row's own value is sent instead of the setting's."""
    video = Video(url=URL, language="fi", callback_url="https://own.example/", email_group="own")
    defaults = Defaults(language="en", callback_url="https://host.example/", email_group="all")
    assert body(video, "r", Defaults()) == body(video, "r", defaults)


def test_empty_defaults_say_nothing() -> None:
    """An empty default is left out of the request."""
    defaults = Defaults(language="", callback_url="", email_group="")
    assert body(Video(url=URL), "r", Defaults()) == body(Video(url=URL), "r", defaults)


def test_a_height_of_nothing_is_a_height() -> None:
    """The smallest face height 0.0 is a choice and is sent."""
    sent = body(Video(url=URL, face_min_relative_height=0.0), "r", Defaults())
    assert {"face_min_relative_height": 0.0} == sent["analysis_parameters"]


def test_the_media_id_is_not_sent_beside_the_request_id() -> None:
    """The one id that a request carries is the one fixed at the first claim."""
    assert "other" not in str(body(Video(url=URL, media_id="other"), "r", Defaults()))


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        pytest.param(
            Video(url=""), "url: is empty; give the address of the video file", id="url-empty"
        ),
        pytest.param(
            Video(url="ftp://host.example/v.mp4"),
            "url: must begin with http:// or https:// or valossaupload:// or file://",
            id="url-of-another-scheme",
        ),
        pytest.param(
            Video(url="host.example/v.mp4"),
            "url: must begin with http:// or https:// or valossaupload:// or file://",
            id="url-without-a-scheme",
        ),
        pytest.param(
            Video(url="file:///media/../v.mp4"),
            "url: holds a . or .. or an empty name; write the plain path",
            id="file-that-leads-back",
        ),
        pytest.param(
            Video(url=URL, transcript_url="file:///media/a.srt"),
            "transcript_url: must begin with http:// or https://",
            id="transcript-in-a-file",
        ),
        pytest.param(
            Video(url="https:///v.mp4"),
            "url: names no host; give the whole address",
            id="url-without-a-host",
        ),
        pytest.param(
            Video(url="https://:443/v.mp4"),
            "url: names no host; give the whole address",
            id="url-of-a-bare-port",
        ),
        pytest.param(
            Video(url="https://host.example/a b.mp4"),
            "url: holds a space or a control character; percent-encode it",
            id="url-with-a-space",
        ),
        pytest.param(
            Video(url=f"{URL}\n"),
            "url: needs U+000A taken off; export it, and import --update does that",
            id="url-with-a-line-end",
        ),
        pytest.param(
            Video(url=f"{URL}\x7f"),
            "url: needs U+007F taken off; export it, and import --update does that",
            id="url-with-a-delete",
        ),
        pytest.param(
            Video(url="https://[::1/v.mp4"),
            "url: is no readable address (Invalid IPv6 URL); correct it",
            id="url-of-half-an-address",
        ),
        pytest.param(
            Video(url="https://host.example:99999/"),
            "url: is no readable address (Port out of range 0-65535); correct it",
            id="url-of-no-such-port",
        ),
        pytest.param(
            Video(url=URL, transcript_url="valossaupload://v"),
            "transcript_url: must begin with http:// or https://",
            id="transcript-of-another-scheme",
        ),
        pytest.param(
            Video(url=URL, transcript_url="https://host.example/a b"),
            "transcript_url: holds a space or a control character; percent-encode it",
            id="transcript-with-a-space",
        ),
        pytest.param(
            Video(url=URL, callback_url="mailto:me@host.example"),
            "callback_url: must begin with http:// or https://",
            id="callback-of-another-scheme",
        ),
        pytest.param(
            Video(url=URL, callback_url="https://"),
            "callback_url: names no host; give the whole address",
            id="callback-without-a-host",
        ),
        *(
            pytest.param(
                Video(url=URL, face_min_relative_height=height),
                f"face_min_relative_height: {height} is not a share from 0 to 1; correct it",
                id=f"height-{height}",
            )
            for height in (-0.1, 1.1, math.nan, math.inf, -math.inf)
        ),
        pytest.param(
            Video(url=f"{URL}\0"), "url: holds a NUL character; take it out", id="url-with-nul"
        ),
        pytest.param(
            Video(url=URL, title="a\0b"),
            "title: holds a NUL character; take it out",
            id="title-with-nul",
        ),
        pytest.param(
            Video(url=URL, description="caf\udce9"),
            "description: holds bytes that are not UTF-8; write the value again as UTF-8",
            id="description-not-utf-8",
        ),
        pytest.param(
            Video(url=URL, media_id="\ud800"),
            "media_id: holds bytes that are not UTF-8; write the value again as UTF-8",
            id="media-id-not-utf-8",
        ),
        pytest.param(
            Video(url=signed(EPOCH - 1)),
            "url: signed link ended 2025-12-31 23:59:59 UTC; it must live 6 h longer "
            "(url_margin_seconds): sign it anew and bring it in with import --update",
            id="url-ended",
        ),
        pytest.param(
            Video(url=signed(EPOCH + 3600)),
            "url: signed link ends too soon, 2026-01-01 01:00:00 UTC; it must live 6 h longer "
            "(url_margin_seconds): sign it anew and bring it in with import --update",
            id="url-ends-too-soon",
        ),
        pytest.param(
            Video(url=URL, transcript_url=signed(EPOCH + 3600)),
            "transcript_url: signed link ends too soon, 2026-01-01 01:00:00 UTC; it must live 6 h "
            "longer (url_margin_seconds): sign it anew and bring it in with import --update",
            id="transcript-ends-too-soon",
        ),
    ],
)
def test_a_fault_names_the_column_and_the_way_out(video: Video, expected: str) -> None:
    """A row that cannot be sent tells which column is wrong and what to do about it."""
    assert expected == fault(video)


@pytest.mark.parametrize("column", [c for c in REQUEST_COLUMNS if c != "face_min_relative_height"])
def test_unreadable_text_is_found_in_every_column(column: str) -> None:
    """No column can carry a NUL or a broken character into a request."""
    for text in ("\0", "\udcff"):
        video = Video(**({"url": URL} | {column: text}))  # type: ignore[arg-type]
        assert (fault(video) or "").startswith(f"{column}: holds ")


@given(st.lists(ANY_TEXT, min_size=3, max_size=3))
def test_unreadable_text_is_told_of_the_first_column_that_holds_it(texts: list[str]) -> None:
    """Looking at all columns at once finds what looking at each would have found."""
    columns = dict(zip(("media_id", "title", "description"), texts, strict=True))
    bad = [name for name, text in columns.items() if any(c in text for c in "\0\ud800\udfff")]
    video = Video(url=URL, **columns)  # type: ignore[arg-type]
    told = fault(video) or ""
    assert (bad[:1] or [""]) == [told.partition(":")[0]]


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(Video(url=URL), id="plain"),
        pytest.param(Video(url="http://host.example"), id="http"),
        pytest.param(Video(url="HTTPS://HOST.EXAMPLE/V.MP4"), id="capitals"),
        pytest.param(Video(url="valossaupload://0a1b2c"), id="upload"),
        pytest.param(Video(url="https://[::1]:8080/v.mp4"), id="ip-6"),
        pytest.param(Video(url="https://höst.example/ä.mp4"), id="not-ascii"),
        pytest.param(Video(url="https://me:pw@host.example/v.mp4"), id="with-a-password"),
        pytest.param(Video(url=URL, transcript_url="", callback_url=""), id="empty-links"),
        pytest.param(Video(url=URL, title="Ünïcödé 🎬\n", language="xx"), id="any-text"),
        pytest.param(Video(url=URL, face_min_relative_height=0.0), id="height-0"),
        pytest.param(Video(url=URL, face_min_relative_height=1.0), id="height-1"),
        pytest.param(Video(url=f"{URL}?Expires=1"), id="not-signed"),
        pytest.param(Video(url=URL, callback_url=signed(EPOCH)), id="callback-may-end"),
    ],
)
def test_a_sendable_video_has_no_fault(video: Video) -> None:
    """A value that the API may accept is no problem."""
    assert None is fault(video)


@pytest.mark.parametrize(
    ("end", "sendable"),
    [
        pytest.param(EPOCH + 6 * 3600 - 1, False, id="a-second-before-the-margin"),
        pytest.param(EPOCH + 6 * 3600, True, id="at-the-margin"),
        pytest.param(EPOCH + 6 * 3600 + 1, True, id="a-second-after-the-margin"),
    ],
)
@pytest.mark.parametrize("column", ["url", "transcript_url"])
def test_a_signed_link_must_outlive_the_margin(column: str, end: int, *, sendable: bool) -> None:
    """A link that ends before the API may download it is not sent, and any other is."""
    video = Video(**({"url": URL} | {column: signed(end)}))  # type: ignore[arg-type]
    assert sendable == (fault(video) is None)


def test_without_a_margin_only_the_past_is_too_soon() -> None:
    """With a margin of nothing, a link is sent until the moment it ends."""
    ends = [EPOCH - 1, EPOCH, EPOCH + 1]
    faults = [problem(Video(url=signed(end)), NOW, timedelta(0)) for end in ends]
    assert [False, True, True] == [found is None for found in faults]


def leaves(value: object) -> list[object]:
    """Return every value in a body that is no object with something in it."""
    if isinstance(value, dict) and value:
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


TEXTS = st.none() | st.text(max_size=3)
HEIGHTS = st.none() | st.floats(0, 1)
VIDEOS = st.builds(
    Video,
    url=st.text(min_size=1),
    face_min_relative_height=HEIGHTS,
    **{
        column: TEXTS
        for column in REQUEST_COLUMNS
        if column not in {"url", "face_min_relative_height"}
    },
)
DEFAULTS = st.builds(Defaults, language=TEXTS, callback_url=TEXTS, email_group=TEXTS)


@given(VIDEOS, st.text(min_size=1), DEFAULTS)
def test_a_body_never_holds_nothing(video: Video, request_id: str, defaults: Defaults) -> None:
    """No field of a request is null, an empty string or an empty object."""
    sent = body(video, request_id, defaults)
    assert [] == [leaf for leaf in leaves(sent) if leaf is None or leaf in ("", {})]


@given(VIDEOS, st.text(min_size=1), DEFAULTS)
def test_a_body_never_loses_anything(video: Video, request_id: str, defaults: Defaults) -> None:
    """Whatever a row names arrives in its request, and nothing that it does not name."""
    said = [
        video.url,
        request_id,
        video.title,
        video.description,
        video.transcript_url,
        video.face_min_relative_height,
        video.face_gallery_id,
        video.language or defaults.language,
        video.callback_url or defaults.callback_url,
        video.email_group or defaults.email_group,
    ]
    expected = [value for value in said if value is not None and value != ""]
    assert sorted(map(repr, expected)) == sorted(
        map(repr, leaves(body(video, request_id, defaults)))
    )


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.floats())
def test_any_text_is_answered(url: str, other: str, title: str, tail: str, height: float) -> None:
    """No value of a row makes the check raise."""
    fault(
        Video(
            url=url,
            transcript_url=other,
            callback_url=other,
            title=title,
            face_min_relative_height=height,
        )
    )
    fault(Video(url=f"https://{tail}"))
    fault(Video(url=f"{URL}?Signature=S&sig=S&X-Amz-Date=20260101T000000Z&{tail}"))


@given(st.integers(-(10**11), 10**12), st.integers(0, 10**9))
def test_any_end_is_judged(end: int, margin: int) -> None:
    """No end of a signed link and no margin raises, and only a known end holds a row back."""
    found = problem(Video(url=signed(end)), NOW, timedelta(seconds=margin))
    assert found is None or end < EPOCH + margin


@pytest.mark.parametrize(
    ("twin", "how"),
    [
        (Twin(12, State.SUBMITTED, "J"), "has job J"),
        (Twin(12, State.SUBMITTING, "J"), "has job J"),
        (Twin(12, State.SUBMITTING), "is in flight"),
        (Twin(12, State.IN_DOUBT), "is in doubt"),
        (Twin(12, State.FAILED), "had a job, or may have one"),
        (Twin(12, State.PENDING), "had a job, or may have one"),
    ],
)
def test_law_17_a_bought_address_is_told_with_the_way_out(twin: Twin, how: str) -> None:
    """Law 17: the sentence names the other video, what it has, and the command to buy again."""
    expected = (
        f"url: is that of video 12, which {how}; to buy it a second time: "
        "valossa-ingest retry id=13 --may-buy-twice"
    )
    assert expected == bought_already(13, twin)


@pytest.mark.parametrize(
    "url", ["file:///media/a b.mp4", "file:///media/expires=1700000000/a.mp4", "FILE:///a%22.mp4"]
)
def test_a_local_file_may_have_any_name(url: str) -> None:
    """A path is no link: it has no signature that ends, and a space in it is one of its name."""
    assert problem(Video(url=url), NOW, MARGIN) is None

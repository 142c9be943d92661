import base64
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.signed_link import ends_at, is_common, unsigned

HOST = "https://host.example/video.mp4"


def policy(document: object) -> str:
    """Return a CloudFront ``Policy`` parameter that holds ``document``."""
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    return encoded.translate(str.maketrans("+=/", "-_~"))


def statement(epoch: object) -> dict[str, object]:
    """Return a CloudFront policy that ends at ``epoch`` (seconds since 1970)."""
    return {
        "Statement": [
            {
                "Resource": "https://host.example/?>?>*",
                "Condition": {"DateLessThan": {"AWS:EpochTime": epoch}},
            }
        ]
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260731T235900Z&X-Amz-Expires=3600",
            datetime(2026, 8, 1, 0, 59, tzinfo=UTC),
        ),
        ("x-amz-date=20260731T235900Z&x-amz-expires=60", datetime(2026, 8, 1, tzinfo=UTC)),
        (
            "Signature=EXAMPLE&Expires=1367619688&AWSAccessKeyId=EXAMPLE",
            datetime(2013, 5, 3, 22, 21, 28, tzinfo=UTC),
        ),
        ("AWSAccessKeyId=A&Expires=0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("Expires=1&Signature=S&Key-Pair-Id=K", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("EXPIRES=1&KEY-PAIR-ID=K", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (
            "GoogleAccessId=me%40host.example&Expires=86400&Signature=S",
            datetime(1970, 1, 2, tzinfo=UTC),
        ),
        (
            "X-Goog-Date=20260228T120000Z&X-Goog-Expires=86400&X-Goog-Signature=S",
            datetime(2026, 3, 1, 12, tzinfo=UTC),
        ),
        (
            f"Policy={policy(statement(1785542400))}&Signature=S&Key-Pair-Id=K",
            datetime(2026, 8, 1, tzinfo=UTC),
        ),
        ("sv=2024-11-04&se=2026-08-01&sig=S", datetime(2026, 8, 1, tzinfo=UTC)),
        ("se=2026-08-01T09:30Z&sig=S", datetime(2026, 8, 1, 9, 30, tzinfo=UTC)),
        ("se=2026-08-01T09%3A30%3A15Z&sig=S", datetime(2026, 8, 1, 9, 30, 15, tzinfo=UTC)),
        (
            "se=2026-08-01T09:30:15.1234567Z&sig=S",
            datetime(2026, 8, 1, 9, 30, 15, 123456, tzinfo=UTC),
        ),
        ("se=2026-08-01T09:30:15&sig=S", datetime(2026, 8, 1, 9, 30, 15, tzinfo=UTC)),
        ("se=2026-08-01T09:30+02:00&sig=S", datetime(2026, 8, 1, 7, 30, tzinfo=UTC)),
        ("SE=2026-08-01&SIG=S", datetime(2026, 8, 1, tzinfo=UTC)),
    ],
)
def test_known_signatures_tell_their_end(query: str, expected: datetime) -> None:
    """A link of every known signer is read to the moment at which it stops working."""
    assert expected == ends_at(f"{HOST}?{query}")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "Expires=86400",
        "expires=never",
        "e=3",
        "exp=1367619688.mp4",
        "expires=13676196880",
        "me=1367619688",
        "se=2026-08-01",
        "X-Amz-Date=20260731T235900Z",
        "t=1367619688&token=abc",
        f"Policy={policy({'Statement': []})}",
        f"Policy={policy(['Statement'])}",
        f"Policy={policy(statement('soon'))}",
    ],
)
def test_other_links_have_no_end(query: str) -> None:
    """A link that no known signer made is not taken for one that ends."""
    assert None is ends_at(f"{HOST}?{query}")


SHAPES = [
    "v.mp4?Expires={0}",
    "v.mp4?expires={0}&signature=S",
    "v.mp4?md5=M&expires={0}",
    "v.mp4?exp={0}&sig=S",
    "v.mp4?x-expires={0}&x-signature=S",
    "v.mp4?x-oss-signature-version=OSS2&x-oss-expires={0}&x-oss-signature=S",
    "v.mp4?OSSAccessKeyId=A&Expires={0}&Signature=S",
    "v.mp4?expiry={0}&hmac=S",
    "v.mp4?expires_at={0}&token=S",
    "v.mp4?e={0}&token=S",
    "v.mp4?st=HASH&e={0}",
    "v.mp4?st=1000000001&e={0}",
    "v.mp4?hdnts=exp={0}~acl=/*~hmac=S",
    "v.mp4?hdnea=st=1000000001~exp={0}~acl=/*~hmac=S",
    "v.mp4?__token__=exp={0}~hmac=S",
    "v.mp4?q-sign-algorithm=sha1&q-sign-time=1000000001;{0}&q-signature=S",
    "v.mp4?q-sign-time=1000000001%3B{0}",
    "v.mp4?a=1&amp;Expires={0}&amp;Signature=S",
    "v.mp4?a=1%26Expires%3D{0}%26Signature%3DS",
    "v.mp4?a=1\\u0026expires={0}",
    "v.mp4?a=1&#38;exp={0}",
    "get?url=https://h.example/v.mp4?OSSAccessKeyId=A&Expires={0}&Signature=S",
    "get?url=https%3A%2F%2Fh.example%2Fv.mp4%3Fexpires%3D{0}%26token%3DS",
    "exp={0}~acl=%2F*~hmac=S/v.mp4",
    "hdntl=exp={0}~acl=%2f*/v.mp4",
    "expires={0}/token/v.mp4",
    "v.mp4?exp={0}000",
    "v.mp4?expires=2026-07-04T21:20:00Z#{0}",
    "v.mp4?expires=2026-07-04T21%3A20%3A00%2B00:00#{0}",
    "v.mp4?x-expires=20260704T212000Z#{0}",
    "v.mp4?X-Amz-Date=20260704T202000Z&amp;X-Amz-Expires=3600#{0}",
    "v.mp4?url=%3FX-Goog-Date%3D20260704T202000Z%26X-Goog-Expires%3D3600#{0}",
    "v.mp4?x-oss-date=20260704T202000Z&x-oss-expires=3600#{0}",
    "v.mp4?x-obs-date=20260704T202000Z&x-obs-expires=3600#{0}",
    "v.mp4?expires=1000000001&exp={0}",
]
"""Links of many signers that end at one moment, ``{0}`` being its seconds since 1970."""
END = datetime(2026, 7, 4, 21, 20, tzinfo=UTC)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_link_of_any_signer_tells_its_end(shape: str) -> None:
    """The shapes of an end that many signers share are read, in a query, a path, or escaped."""
    assert END == ends_at(f"https://host.example/{shape.format(round(END.timestamp()))}")


@given(
    st.sampled_from([shape for shape in SHAPES if "ignature" not in shape and "q-" not in shape]),
    st.integers(0, 10**9 - 1) | st.integers(round(END.timestamp()), 10**12 - 1),
    st.text(st.characters(exclude_characters="#", exclude_categories=["Cs"])),
)
def test_a_link_without_an_end_in_the_past_is_never_refused(
    shape: str, number: int, text: str
) -> None:
    """Only a moment from 2001 on, under the name of an end, ends a link before now."""
    link = shape.format(number).replace("1000000001", "0")
    for url in (f"https://host.example/{link}", f"{HOST}?q={quote(text)}", f"{HOST}?{text}=1"):
        end = ends_at(url)
        assert end is None or end >= END, url


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Date=yesterday&X-Amz-Expires=60",
        "X-Amz-Date=20260731T235900Z&X-Amz-Expires=soon",
        f"X-Amz-Date=20260731T235900Z&X-Amz-Expires={'9' * 12}",
        f"X-Goog-Date=99991231T235900Z&X-Goog-Expires={'9' * 6}",
        f"Expires={'9' * 15}&Signature=S",
        f"Expires={'9' * 10_000}&Signature=S",
        f"Expires=-{'9' * 15}&Signature=S",
        "se=0001-01-01T00:00%2B23:59&sig=S",
        "se=2026-13-01&sig=S",
        "Policy=A",
        "Policy=%C3%A9",
        "Policy=_____",
        f"Policy={base64.b64encode(b'[' * 100_000).decode()}",
        f"Policy={base64.b64encode(b'9' * 10_000).decode()}",
        f"Policy={base64.b64encode(bytes([0xFF, 0xFE, 0xFD])).decode()}",
        f"Policy={policy(statement(10**30))}",
    ],
)
def test_unreadable_ends_are_unknown(query: str) -> None:
    """A signed link whose end is broken or absurd is not known to end, and stops nothing."""
    assert None is ends_at(f"{HOST}?{query}")


@pytest.mark.parametrize("url", ["", "?", "http://[", "http://[::1?Expires=1", "//\ud800?se=1"])
def test_no_url_is_an_error(url: str) -> None:
    """A string that is no URL at all is answered and not raised about."""
    assert None is ends_at(url)


NAMES = st.sampled_from(
    [
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Goog-Date",
        "X-Goog-Expires",
        "Expires",
        "Signature",
        "Policy",
        "se",
        "sig",
    ]
)
VALUES = (
    st.text()
    | st.integers().map(str)
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
    | st.recursive(st.integers() | st.text(), st.lists).map(policy)
)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_answered(text: str) -> None:
    """No string whatever makes the question for its end raise."""
    ends_at(text)
    ends_at(f"{HOST}?Signature=S&sig=S&{text}")


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_any_signed_values_are_answered_in_utc(parameters: dict[str, str]) -> None:
    """Whatever stands in the parameters of a signed link, the end is unknown or a time in UTC."""
    query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
    end = ends_at(f"{HOST}?{query}")
    assert end is None or end.tzinfo is UTC


@given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_every_signer_agrees_on_one_end(end: datetime) -> None:
    """The same end, written by each signer in its own way, is read back as the same moment."""
    end = end.replace(microsecond=0)
    epoch = round((end - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))
    day_before = f"{end - timedelta(days=1):%Y%m%dT%H%M%SZ}"
    queries = [
        f"Expires={epoch}&Signature=S",
        f"Policy={policy(statement(epoch))}",
        f"se={end:%Y-%m-%dT%H:%M:%SZ}&sig=S",
        f"X-Amz-Date={day_before}&X-Amz-Expires=86400",
        f"X-Goog-Date={day_before}&X-Goog-Expires=86400",
    ]
    assert [end] * len(queries) == [ends_at(f"{HOST}?{query}") for query in queries]


PIECES = st.sampled_from("aB9.-_:@/?#[]%&=+; \t\n\x7f\0ä\ud800") | st.sampled_from(
    (
        "//",
        "http://",
        "https://",
        "HTTPS://",
        ":80",
        "%3F",
        "Signature=S",
        "sig=S",
        "Expires=9",
        "%45xpires=%39",
        "se=2026-08-01",
        "+se=2026-08-01",
        "X-Amz-Expires=9",
    )
)
SCRAPS = st.lists(PIECES).map("".join)


@given(st.sampled_from(["", "http://", "https://", "https://a.b/"]), SCRAPS)
def test_in_a_common_link_nothing_can_be_wrong(beginning: str, scraps: str) -> None:
    """A link that counts as common has no problem by the full check."""
    url = beginning + scraps
    if is_common(url):
        parts = urlsplit(url)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname
        assert parts.port is None
        assert None is re.search(r"[\x00-\x20\x7f\ud800-\udfff]", url)


@pytest.mark.parametrize(
    "url",
    ["http://host.example", f"{HOST}?Signature=%2B%3D&Expires=1#t=1,2", "https://1.2.3.4/?a[]"],
)
def test_links_as_lists_have_them_are_common(url: str) -> None:
    """The glance would be of no use if it missed them."""
    assert is_common(url)


@given(SCRAPS)
def test_a_common_link_ends_when_any_other_does(scraps: str) -> None:
    """A host with a port is looked at more closely; the end in the query is the same."""
    common, other = (f"https://host.example{port}/?{scraps}" for port in ("", ":443"))
    assert ends_at(other) == ends_at(common)


@given(SCRAPS.filter(lambda text: "\ud800" not in text))
def test_parameters_are_read_as_the_standard_library_reads_them(scraps: str) -> None:
    """The same parameters, taken apart by it and put together again, end at the same moment."""
    query = f"{scraps}&sig=S&Signature=S".replace("#", "").translate(dict.fromkeys(range(32)))
    again = "&".join(f"{quote_plus(n)}={quote_plus(v)}" for n, v in parse_qsl(query))
    assert ends_at(f"{HOST}?{again}") == ends_at(f"{HOST}?{query}")


SIGNATURES = {
    "s3-v4": "X-Amz-Algorithm=A&X-Amz-Credential=C{0}&X-Amz-Date=2&X-Amz-Expires=3"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=T{0}&X-Amz-Signature={0}&x-id=GetObject",
    "s3-v2": "AWSAccessKeyId=A&Signature={0}&Expires=1{0}&response-content-type=video%2Fmp4",
    "gcs-v4": "X-Goog-Algorithm=A&X-Goog-Date=2{0}&X-Goog-Expires=3&X-Goog-Signature={0}",
    "gcs-v2": "GoogleAccessId=me%40host.example&Expires={0}&Signature={0}",
    "cloudfront": "Expires={0}&Signature={0}&Key-Pair-Id=K",
    "cloudfront-policy": "Policy=P{0}&Signature={0}&Key-Pair-Id=K{0}",
    "azure": "sv=2024&st=2026{0}&se=2027{0}&sr=b&sp=r&spr=https&sig={0}",
    "azure-user": "skoid=1&sktid=2&skt=3&ske=4{0}&sks=b&skv=5&se=6&sv=7&sr=b&sp=r&sig={0}",
    "akamai": "hdnts=exp={0}~acl=/*~hmac={0}",
    "akamai-old": "__token__=exp={0}~hmac={0}",
    "oss": "OSSAccessKeyId=A&Expires={0}&Signature={0}",
    "bunny": "token={0}&expires={0}&token_path=%2F",
    "token": "token={0}",
    "access-token": "access_token={0}",
    "generic": "expires={0}&signature={0}",
    "capitals": "EXPIRES={0}&SIGNATURE={0}",
    "encoded": "%65xpires={0}&si%67nature={0}",
    "nginx": "md5={0}&expires={0}",
    "qiniu": "e={0}&token={0}",
    "facebook": "oh={0}&oe={0}",
    "wowza": "wowzatokenendtime={0}&wowzatokenhash={0}",
    "jwt-and-exp": "exp={0}&sig={0}",
}


@pytest.mark.parametrize("query", SIGNATURES.values(), ids=SIGNATURES)
def test_two_signatures_of_one_object_are_one_address(query: str) -> None:
    """Parameters of any signer are left out; those of the sender stay, in their order."""
    for night in ("17001", "18002"):
        signed = query.format(night)
        assert HOST == unsigned(f"{HOST}?{signed}")
        assert f"{HOST}?v=3&q=a%26b#t=1" == unsigned(f"{HOST}?v=3&{signed}&q=a%26b#t=1")


@pytest.mark.parametrize(
    "url",
    [
        HOST,
        f"{HOST}?v=3",
        f"{HOST}?Expires=1",
        f"{HOST}?hash=1",
        f"{HOST}#?token=1",
        "https://host.example/download?token=which-file",
        "https://host.example/download?hash=which-file&v=2",
        "https://host.example/watch?v=1&t=1700000000",
        "valossaupload://Ab?token=1",
        "no link",
        "https://host.example:8443/a",
        "https://[::1]/a",
    ],
)
def test_a_link_that_no_signer_made_is_its_own_address(url: str) -> None:
    """A parameter that may say which file is meant is never left out."""
    assert None is unsigned(url)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTPS://Host.Example:443/A.mp4", "https://host.example/A.mp4"),
        ("http://HOST.example:80", "http://host.example"),
        ("https://Me:PW@Host.example/a", "https://Me:PW@host.example/a"),
        ("https://host.example/a?", "https://host.example/a"),
        (
            "https://host.example/get?hash=file&expires=1&signature=2",
            "https://host.example/get?hash=file",
        ),
    ],
)
def test_spellings_of_one_address_are_one(url: str, same: str) -> None:
    """Capitals in scheme and host, and a default port, make no other address."""
    assert same == unsigned(url)


@given(SCRAPS)
def test_any_link_can_be_unsigned_once(scraps: str) -> None:
    """No text makes it raise, and what it returns has nothing more to leave out."""
    for url in (scraps, f"https://host.example/{scraps}", f"{HOST}?{scraps}"):
        same = unsigned(url)
        assert same is None or same != url

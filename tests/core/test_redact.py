import json
import string
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.redact import (
    TEXT_LIMIT,
    blank,
    clean,
    presentable,
    without_query,
    without_secrets,
)

ODD = st.sampled_from("\0\ud800\udfff?&=%/#@:[]")
ANY_TEXT = st.lists(st.text() | ODD).map("".join)
KEY = 'a/b+c=d"e\\f&gÄ€🎬'


def percent_lower(text: str) -> str:
    """Return it percent-encoded with small letters, as .NET does."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


def json_ascii(text: str) -> str:
    """Return it as inside a JSON string of ASCII."""
    return json.dumps(text)[1:-1]


def json_small(text: str) -> str:
    """Return it as inside a JSON string of UTF-8."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def json_slashes(text: str) -> str:
    """Return it as PHP writes it inside a JSON string."""
    return json_ascii(text).replace("/", "\\/")


def json_angles(text: str) -> str:
    """Return it as Go writes it inside a JSON string."""
    return json_small(text).replace("&", "\\u0026").replace("<", "\\u003C")


def quote_most(text: str) -> str:
    """Return it percent-encoded except for characters of a path."""
    return quote(text, safe="/:@!$&'()*+,;=")


SPELLINGS: list[Callable[[str], str]] = [
    str,
    quote,
    quote_plus,
    quote_most,
    percent_lower,
    json_ascii,
    json_small,
    json_slashes,
    json_angles,
    escape,
]


# The key.


@pytest.mark.parametrize("spell", SPELLINGS, ids=lambda spell: spell.__name__)
@pytest.mark.parametrize("key", [KEY, "0123456789abcdef"], ids=["odd", "plain"])
def test_the_key_is_blanked_in_every_spelling(key: str, spell: Callable[[str], str]) -> None:
    """An answer that echoes the key, however it is escaped, does not show it."""
    text = f'{{"api_key": "{spell(key)}", "again": "{spell(key)}"}}'
    assert '{"api_key": "[key]", "again": "[key]"}' == blank(text, key)


def test_a_key_without_safe_characters_is_blanked() -> None:
    """A key with escaped slashes is blanked."""
    assert "[key]" == blank(quote("abc/def+ghi", safe=""), "abc/def+ghi")


@pytest.mark.parametrize("end", ["&", "%", "\\", '"', "/"])
def test_no_part_of_an_escape_is_left_behind(end: str) -> None:
    """An escaped last character of the key is blanked whole."""
    texts = [blank(f"[{spell(f'abcdefg{end}')}]", f"abcdefg{end}") for spell in SPELLINGS]
    assert ["[[key]]"] * len(SPELLINGS) == texts


@pytest.mark.parametrize("key", ["a.c.e.g.", "(((((((((", "[a-z]+$^|", "\\1\\g<0>x"])
def test_a_key_is_no_pattern(key: str) -> None:
    """Characters that mean something in a pattern stand for themselves in a key."""
    assert "<[key]> abcdefgh" == blank(f"<{key}> abcdefgh", key)


@pytest.mark.parametrize("text", ["", "nothing here", "abcdefg", "ABCDEFG", "a-b-c-d-e-f-g"])
def test_other_text_is_left_alone(text: str) -> None:
    """Text that is not the key is unchanged."""
    assert text == blank(text, "abcdefgh")


def test_no_key_blanks_nothing() -> None:
    """Every text is unchanged without a key."""
    assert "text" == blank("text", "")


def test_a_broken_key_raises_nothing() -> None:
    """A key that holds broken characters is blanked like any other."""
    assert "<[key]>" == blank("<\udcff234567>", "\udcff234567")


PRINTABLE = [c for c in string.printable if c.isprintable() and c not in "[] \\%&"] + list(
    "ÄßЖ中€🎬"
)
KEYS = st.text(st.sampled_from(PRINTABLE), min_size=8, max_size=40)


@given(KEYS, st.sampled_from(SPELLINGS), ANY_TEXT, ANY_TEXT)
def test_the_key_never_survives(
    key: str, spell: Callable[[str], str], before: str, after: str
) -> None:
    """Whatever the key and the text around it, no spelling of it is left."""
    shown = blank(before + spell(key) + after, key)
    assert key not in shown
    assert spell(key) not in shown
    assert "[key]" in shown


@given(KEYS, st.data())
def test_the_key_never_survives_a_mixture(key: str, data: st.DataObject) -> None:
    """A key of which each character is escaped in another way is blanked all the same."""
    spellings = st.sampled_from(SPELLINGS)
    mixed = "".join(data.draw(spellings)(character) for character in key)
    assert "][key][" == blank(f"]{mixed}[", key)


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("%0000000%3A", "0000000:", "%[key]"),
        (r"\u0041bcdef%3A", "0041bcdef:", r"\u[key]"),
    ],
)
def test_a_sign_before_the_key_makes_no_escape_of_it(text: str, key: str, shown: str) -> None:
    """A key whose first signs a sign before it turns into an escape is blanked too."""
    assert shown == blank(text, key)


LONG = "a8Sd7Fk3-Lm9QwErT6yUi"


@pytest.mark.parametrize("part", [LONG[:8], LONG[5:13], LONG[-8:], LONG[2:17]])
@pytest.mark.parametrize(
    "told",
    [
        str,
        str.upper,
        str.lower,
        *SPELLINGS,
        *(
            mark.join
            for mark in (
                " ", "\n", "\u200b", "\u00ad", "\ufeff", "\u00a0", "-", "_", ".", ", ", "<b>",
                "</b>\n<b>",
                "&nbsp;", "&#8203;", "&shy;", "%20", "\\n", "\\u200b", "\x1b[31m", "\x00",
            )
        ),
        lambda text: "".join(f"&#{ord(each)};" for each in text),
        lambda text: "".join(f"&#x{ord(each):x};" for each in text),
        lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
        lambda text: "".join(f"%{ord(each):02x}" for each in text),
        lambda text: f'<a title="{text}">',
        lambda text: f"x{text}x",
    ],
)  # fmt: skip
def test_a_part_of_the_key_is_blanked(part: str, told: Callable[[str], str]) -> None:
    """Eight characters in a row of the key are blanked, whatever their case and what separates."""
    shown = blank(f"no: {told(part)}!", LONG)
    assert shown.startswith("no: ")
    assert shown.endswith("!")
    assert "[key]" in shown
    assert part[3:6].lower() not in shown.lower().replace("[key]", "")


@pytest.mark.parametrize(
    "text", [LONG[:7], f"{LONG[:7]} {LONG[8:15]}", "9b08923d-1111-4222-8333-a8"]
)
def test_a_shorter_part_of_the_key_is_left(text: str) -> None:
    """Seven characters of the key are a word like others."""
    assert text == blank(text, LONG)


def test_a_uuid_is_no_part_of_a_key() -> None:
    """A job id that holds some characters of the key by chance is left as it is."""
    job, key = "9b08923d-1111-4222-8333-abcdefabcdef", "4222-8333-abcdefab-1234"
    assert (job, "[key]", "[key]") == (blank(job, key), blank(job, job), blank(job.upper(), job))


def test_a_key_cut_off_is_blanked() -> None:
    """A part of the key at the end of a text that was cut is blanked too."""
    assert "x" * 100 + "[key]" == blank("x" * 100 + LONG[:11], LONG)


# Text of the API.

AMZ = "X-Amz-Signature=0123456789abcdef&X-Amz-Expires=3600"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"no: https://v.example/1.mp4?{AMZ}; bye", "no: https://v.example/1.mp4?… bye"),
        (f"no: {quote(f'https://v.example/1.mp4?{AMZ}', safe='')} bye", None),
        (
            f"no: {escape(f'https://v.example/1.mp4?{AMZ}')} bye",
            "no: https://v.example/1.mp4?… bye",
        ),
        (f'{{"u": "https:\\/\\/v.example\\/1?{AMZ}", "a": 1}}', None),
        (f'{{"u": "https://v.example/1\\u003f{AMZ}"}}', None),
        (f"no: {AMZ}", "no: …"),
        (f"no: {AMZ.replace('&', '&amp;')}", "no: …"),
        ("no: 1.mp4?sig=0123456789abcdef", "no: 1.mp4?…"),
        ("no: //v.example/1?0123456789abcdef", "no: //v.example/1?…"),
        ("no: https://v.example/#access_token=0123456789abcdef", "no: https://v.example/…"),
        ("no: Signature=0123456789abcdef", "no: …"),
        ("no: id_token=0123456789abcdef", "no: …"),
        ("no: x-goog-signature=0123456789abcdef", "no: …"),
        ("no: https://me:0123456789abcdef@v.example/1.mp4", "no: https://…v.example/1.mp4"),
    ],
)
def test_a_query_is_not_presentable(text: str, expected: str | None) -> None:
    """Whatever looks like the query of a URL is cut out of a text of the API."""
    shown = presentable(text, LONG)
    assert "0123456789abcdef" not in shown
    assert "3600" not in shown
    assert expected in {None, shown}


@pytest.mark.parametrize(
    "text",
    ["what? no", "really?", "a=b", "title=Foo is long", "see #12", "1 + 1 = 2", "a & b", "50%"],
)
def test_other_text_of_the_api_is_presentable(text: str) -> None:
    """Text that quotes no query is shown as it is."""
    assert text == presentable(text, LONG)


@pytest.mark.parametrize(
    "part",
    ["?a", "a=b&", "%3f", "x", "<", "a.b", "://", "x-amz-", "token", "&#", "%41", "a=", "\\u"],
)
def test_a_long_text_is_presentable_at_once(part: str) -> None:
    """No text takes longer than its length: this ends, however often it repeats itself."""
    assert len(presentable(part * 30_000, LONG)) <= TEXT_LIMIT


# Text that is stored.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("plain Ü 🎬\n", "plain Ü 🎬\n", id="plain"),
        pytest.param("a\0b", "a\ufffdb", id="nul"),
        pytest.param("a\ud800b\udfff", "a\ufffdb\ufffd", id="lone-surrogates"),
        pytest.param("\ud7ff\ue000", "\ud7ff\ue000", id="neighbours-of-surrogates"),
        pytest.param("x" * TEXT_LIMIT, "x" * TEXT_LIMIT, id="at-the-limit"),
        pytest.param("x" * (TEXT_LIMIT + 1), "x" * TEXT_LIMIT, id="over-the-limit"),
    ],
)
def test_stored_text_is_cleaned(text: str, expected: str) -> None:
    """NUL and lone surrogates are replaced, and long text is cut, before a database sees it."""
    assert expected == clean(text)


def test_stored_text_is_cut_at_2000_characters() -> None:
    """Text is cut at 2,000 characters."""
    assert 2_000 == TEXT_LIMIT


@given(ANY_TEXT)
def test_any_text_can_be_stored(text: str) -> None:
    """Cleaned text is UTF-8 without NUL, inside the limit, and the same when cleaned again."""
    cleaned = clean(text * 300)
    assert "\0" not in cleaned
    assert cleaned == cleaned.encode().decode()
    assert len(cleaned) <= TEXT_LIMIT
    assert cleaned == clean(cleaned)


# URLs that are shown.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://host.example/v.mp4", "https://host.example/v.mp4", id="plain"),
        pytest.param(
            "https://host.example/v.mp4?sig=secret", "https://host.example/v.mp4?…", id="query"
        ),
        pytest.param(
            "https://host.example/v.mp4#secret", "https://host.example/v.mp4", id="fragment"
        ),
        pytest.param(
            "https://me:secret@host.example:8443/v.mp4?sig=secret#secret",
            "https://host.example:8443/v.mp4?…",
            id="password",
        ),
        pytest.param(
            "https://me:sec@ret@host.example/v.mp4",
            "https://host.example/v.mp4",
            id="password-with-an-at",
        ),
        pytest.param("https://host.example?sig=secret", "https://host.example?…", id="no-path"),
        pytest.param("https://host.example/v.mp4?", "https://host.example/v.mp4", id="empty-query"),
        pytest.param("valossaupload://0a1b2c", "valossaupload://0a1b2c", id="upload"),
        pytest.param("https://[::1/v.mp4?sig=secret", "[unreadable URL]", id="unreadable"),
    ],
)
def test_a_url_is_shown_without_its_query(url: str, expected: str) -> None:
    """A signature and a user name are removed from a link."""
    assert expected == without_query(url)


@given(st.text(string.ascii_letters + string.digits, min_size=16), st.sampled_from("?#"))
def test_no_secret_of_a_url_is_shown(secret: str, sign: str) -> None:
    """Neither a query nor a fragment nor a password is ever shown."""
    shown = without_query(f"https://user:{secret}@host.example/v.mp4{sign}token={secret}")
    assert secret not in shown


@given(ANY_TEXT)
def test_any_text_can_be_shown_as_a_url(text: str) -> None:
    """No string raises, and no query is returned."""
    assert "secret-value" not in without_query(f"https://host.example/{text}?sig=secret-value")
    without_query(text)


# Errors that quote a URL.

LOGIN = "https://me:hunter22@host.example/v.mp4"
SIGNED = (
    "https://host.example/v.mp4?X-Amz-Signature=0123456789abcdef&X-Amz-Expires=3600&t=a%2fb%2Bc+d"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("HTTP 400: no", "HTTP 400: no", id="nothing-quoted"),
        pytest.param(
            f"HTTP 400: {SIGNED}: no", "HTTP 400: https://host.example/v.mp4?…: no", id="whole"
        ),
        pytest.param(f"no: {SIGNED.partition('?')[2]}", "no: …", id="query-alone"),
        pytest.param(
            "no: X-Amz-Signature=0123456789abcdef", "no: X-Amz-Signature=…", id="one-value"
        ),
        pytest.param("no: t=a%2fb%2Bc+d", "no: t=…", id="value-as-written"),
        pytest.param("no: t=a/b+c d", "no: t=…", id="value-decoded"),
        pytest.param("no: t=a/b%2Bc%20d", "no: t=…", id="value-encoded-by-another"),
        pytest.param("no: t=a%2Fb%2Bc%20d", "no: t=…", id="value-encoded-fully"),
        pytest.param("no: X-Amz-Expires=3600", "no: X-Amz-Expires=3600", id="short-value"),
    ],
)
def test_an_error_does_not_quote_a_signature(text: str, expected: str) -> None:
    """An error that repeats a signed link, or a part of its query, is shown without it."""
    assert expected == without_secrets(text, SIGNED)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://host.example/v.mp4", "a v=1 ?t title", id="no-query"),
        pytest.param("https://host.example/v.mp4?t", "a v=1 ?… title", id="a-letter"),
        pytest.param("https://host.example/v.mp4?v=1", "a v=1 ?t title", id="a-short-query"),
        pytest.param("https://[::1/v.mp4?t", "a v=1 ?t title", id="unreadable"),
    ],
)
def test_a_short_query_does_not_riddle_an_error(url: str, expected: str) -> None:
    """A value too short to be a secret is not cut out of a message."""
    assert expected == without_secrets("a v=1 ?t title", url)


def test_a_password_is_a_secret() -> None:
    """The password of a link is hidden where a message quotes the link."""
    text = without_secrets("not found: https://me:hunter22@host.example/v.mp4", LOGIN)
    assert "not found: https://me:…@host.example/v.mp4" == text


def test_a_bare_token_is_a_secret() -> None:
    """A part of a query that has no name is hidden as a value is."""
    text = without_secrets("no: 0123456789", "https://host.example/v.mp4?a=1&0123456789")
    assert "no: …" == text


SECRETS = st.text(string.ascii_letters + string.digits + "/+=- %&", min_size=6, max_size=60)


@given(SECRETS, st.sampled_from([quote, quote_plus]), ANY_TEXT)
def test_no_value_of_a_query_survives(
    secret: str, written: Callable[[str], str], around: str
) -> None:
    """However a value is escaped in the link and in the text, the text does not keep it."""
    url = f"https://host.example/v.mp4?Expires=1&Signature={written(secret)}"
    for spelled in (secret, quote(secret), quote(secret, safe=""), written(secret), url):
        shown = without_secrets(f"{around}<{spelled}>", url)
        assert shown.endswith(("<…>", "?…>"))


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_and_url_are_answered(text: str, url: str) -> None:
    """No text and no URL makes the hiding raise."""
    without_secrets(text, url)
    without_secrets(text, f"https://host.example/v.mp4?{url}")

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.link import cleaned, fault
from worker.core.signed_link import is_common

LINK = "https://host.example/a.mp4"
AROUND = (
    *"\x01\x1f \x7f\x85\xa0\xad\u034f\u061c\u115f\u17b4\u180e\u200b\u200c\u200d\u200e\u200f\u2028",
    *"\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u2060\u2061\u2066\u2067\u2068\u2069\u3000",
    *"\u3164\ufe0f\ufeff\U000e0020",
)
MARKS = (*"<>\"'`\xab\xbb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a",)


@pytest.mark.parametrize("character", [*AROUND, *MARKS])
def test_what_stands_around_a_link_is_taken_off_and_named(character: str) -> None:
    """Invisible characters, quotes and brackets at the ends of a link are no part of it."""
    note = [f"U+{ord(character):04X} taken off"]
    for text in (f"{character}{LINK}", f"{LINK}{character}", f"{character * 3}{LINK}{character}"):
        assert (LINK, note) == cleaned(text)


@pytest.mark.parametrize("character", [each for each in AROUND if each != " "])
def test_an_invisible_character_inside_a_link_is_named(character: str) -> None:
    """An invisible character inside a link is refused with its code point."""
    link = f"https://host.example/a{character}b.mp4"
    assert (link, []) == cleaned(link)
    told = fault(link) or ""
    assert f"holds U+{ord(character):04X} inside" == told[: told.index(",")]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (f"{LINK}?a=1&amp;b=2", f"{LINK}?a=1&b=2"),
        (f"{LINK}?a=1&AMP;b=2", f"{LINK}?a=1&b=2"),
        (f"{LINK}?a=1&amp;amp;b=2", f"{LINK}?a=1&b=2"),
        (f"{LINK}?a=1&#38;b=2&#x26;c=3", f"{LINK}?a=1&b=2&c=3"),
        (f"{LINK}?a=1\\u0026b=2", f"{LINK}?a=1&b=2"),
        (f"{LINK}?a=1&#038;b=2&#x0026;c=3", f"{LINK}?a=1&b=2&c=3"),
    ],
)
def test_an_escaped_ampersand_is_one(text: str, link: str) -> None:
    """An ampersand that HTML or JSON has escaped is written as itself, and that is noted."""
    assert (link, ["&amp; or \\u0026 made &"]) == cleaned(text)
    assert None is fault(link)


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (f"https://{LINK}", "begins twice with https://; write it once"),
        (f"http://{LINK}", "begins twice"),
        ("https://https//host.example/a", "begins twice"),
        ("https:https://host.example/a", "begins twice"),
        ("HTTPS://HTTP://host.example/a", "begins twice"),
        (f"{LINK} {LINK}", "holds two links; give each a row of its own"),
        (f"{LINK},{LINK}", "holds two links"),
        (f"{LINK};{LINK}", "holds two links"),
        (f"{LINK}|{LINK}", "holds two links"),
        (f"{LINK}\n{LINK}", "holds two links"),
        (f"{LINK}{LINK}", "holds two links"),
        ("https:\\\\host.example\\a.mp4", "holds a backslash; write / in its place"),
        ("https://host.example/a\\b.mp4", "holds a backslash"),
        (
            "https:\\/\\/host.example",
            "holds a backslash; write / in its place, or take it out before",
        ),
        (f'=HYPERLINK("{LINK}")', 'holds a <, > or "; copy the link alone'),
        ("https://host.example/a b.mp4", "holds a space or a control character; percent-encode it"),
        (f'{LINK}">talk</a', 'holds a <, > or "; copy the link alone'),
    ],
)
def test_what_is_no_link_is_told_with_the_way_to_correct_it(link: str, why: str) -> None:
    """Each kind of broken link has a sentence of its own, and none of them passes as common."""
    assert why == (fault(link) or "")[: len(why)]
    assert not is_common(link)
    assert (link, []) == cleaned(link)


@pytest.mark.parametrize(
    "link",
    [
        "https://web.archive.org/web/2020/https://host.example/a.mp4",
        "https://host.example/get?url=https://other.example/a.mp4",
        "https://https.example/a",
        "https://http-cdn.example/a",
        "https://host.example/it's.mp4",
        "https://host.example/It\u2019s.mp4",
        "https://host.example/a;b=1",
        "https://höst.example/ä.mp4",
    ],
)
def test_an_unusual_link_is_a_link(link: str) -> None:
    """A link in a link, an apostrophe and letters of other alphabets are no fault."""
    assert (link, []) == cleaned(link)
    assert None is fault(link)


@given(st.text(st.sampled_from("ah:/&;?#.\\ \u200b\xa0<\"'\0\ud800") | st.characters()))
def test_any_text_is_cleaned_once(text: str) -> None:
    """Cleaning raises nothing, and finds nothing more in what it has cleaned of its ends."""
    link, notes = cleaned(text)
    assert (link == text) == (notes == [])
    assert [] == [note for note in cleaned(link)[1] if "taken off" in note and "&" not in text]
    fault(link)

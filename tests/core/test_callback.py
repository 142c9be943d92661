import pytest

from worker.core.callback import token, url, video_of

SECRET = "0123456789abcdef" * 4


def test_a_token_names_its_video() -> None:
    """A signed token is read as its video, and the address ends in it."""
    address = url("https://hooks.example/valossa/", SECRET, 17)
    assert f"https://hooks.example/valossa/callback/{token(SECRET, 17)}" == address
    assert 17 == video_of(SECRET, address.rpartition("/")[2])


@pytest.mark.parametrize(
    "given",
    [
        "",
        "17",
        "17-",
        "17-0123456789abcdef",
        f"18-{token(SECRET, 17).partition('-')[2]}",
        f"017-{token(SECRET, 17).partition('-')[2]}",
        f"{token(SECRET, 17)}0",
        token(SECRET, 17).upper().replace("17-", "17-A", 1),
        token("another", 17),
        "٣-" + "0" * 64,
        "9" * 100,
        "\udcff-\0",
    ],
)
def test_what_is_not_signed_names_no_video(given: str) -> None:
    """A token of another secret or video, or no token at all, names none."""
    assert video_of(SECRET, given) is None

import pytest

from worker.simulator.fields import NEW_JOB, NEW_JOB_REQUIRED, dig, problems

FULL: dict[str, object] = {
    "api_key": "k",
    "media": {
        "video": {"url": "https://videos.example/a.mp4"},
        "transcript": {"url": "http://videos.example/a.srt"},
        "customer_media_info": {"id": "r-1"},
        "description": "d",
        "title": "t",
        "language": "en-US",
    },
    "analysis_parameters": {
        "face_min_relative_height": 0.1,
        "face_galleries": {"custom_gallery": {"id": "b3b2a4a0-0000-4000-8000-000000000000"}},
    },
    "email_notification": {"to_group": "users_with_access_to_api_key_results"},
    "callback": {"url": "https://hook.example/"},
}


def changed(path: str, value: object) -> dict[str, object]:
    """Return the full body with another value at the dotted path."""
    name, _, rest = path.partition(".")
    if not rest:
        return {**FULL, name: value}
    inner = FULL[name]
    assert isinstance(inner, dict)
    *parents, last = rest.split(".")
    inner = dict(inner)
    body, here = {**FULL, name: inner}, inner
    for parent in parents:
        here[parent] = dict(here.get(parent, {}))
        here = here[parent]
    here[last] = value
    return body


def test_everything_documented_is_taken() -> None:
    """A body with every documented field has nothing wrong with it."""
    assert () == problems(FULL, NEW_JOB, NEW_JOB_REQUIRED)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("media", "text"),
        ("media.video.url", 5),
        ("media.video.url", "videos.example/a.mp4"),
        ("media.video.url", "ftp://videos.example/a.mp4"),
        ("media.video.url", "https://[broken/"),
        ("media.transcript", {}),
        ("media.transcript.url", "valossaupload://1"),
        ("media.customer_media_info.id", ""),
        ("media.title", None),
        ("media.description", ["d"]),
        ("media.language", 1),
        ("analysis_parameters.face_min_relative_height", 1.5),
        ("analysis_parameters.face_min_relative_height", True),
        ("analysis_parameters.face_min_relative_height", "0.5"),
        ("analysis_parameters.face_min_relative_height", float("nan")),
        ("analysis_parameters.face_galleries", []),
        ("email_notification.to_group", ""),
        ("callback.url", "hook"),
    ],
)
def test_an_invalid_value_is_named(path: str, value: object) -> None:
    """A value that the documentation does not allow is refused under the name of its field."""
    assert f"Invalid value: {path}" in problems(changed(path, value), NEW_JOB, NEW_JOB_REQUIRED)


@pytest.mark.parametrize("path", ["priority", "media.video.link", "analysis_parameters.x"])
def test_an_unknown_field_is_named(path: str) -> None:
    """A field that the documentation does not know is refused, wherever it stands."""
    found = problems(changed(path, "v"), NEW_JOB, NEW_JOB_REQUIRED)
    assert (f"Unknown field: {path}",) == found


def test_all_problems_are_told_at_once() -> None:
    """A second mistake is not hidden behind the first."""
    found = problems({"media": {"title": 1}, "x": 1}, NEW_JOB, NEW_JOB_REQUIRED)
    assert (
        "Missing required field: media.video.url",
        "Invalid value: media.title",
        "Unknown field: x",
    ) == found


def test_an_uploaded_file_is_a_video() -> None:
    """The address that a chunked upload yields can be handed in."""
    body = changed("media.video.url", "valossaupload://abc")
    assert () == problems(body, NEW_JOB, NEW_JOB_REQUIRED)


def test_digging_ends_where_nothing_stands() -> None:
    """A path through anything but objects leads to None, not to an error."""
    assert "r-1" == dig(FULL, "media.customer_media_info.id")
    assert None is dig(FULL, "media.title.deeper")
    assert None is dig(None, "media")

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from worker.core import audit
from worker.core.audit import Audit, AuditRow, Match
from worker.core.job_list import Entry, Listing
from worker.core.model import State

URL = "https://example.org/1.mp4"
SETTLED = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_URL = "https://example.org/other.mp4"


def entry(job_id: str | None = "job-a", *identifiers: str, **shown: str | None) -> Entry:
    """Return a job of the list; ``url`` and ``status`` as they are given."""
    url = shown.get("url")
    return Entry(
        job_id=job_id,
        status=shown.get("status", "queued"),
        identifiers=frozenset(identifiers),
        urls=frozenset() if url is None else frozenset({url}),
    )


def listing(*entries: Entry, paged: str | None = None) -> Listing:
    """Return a list of these jobs."""
    return Listing(entries=entries, paged=paged, shape="")


def compare(shown: Listing, rows: Sequence[AuditRow]) -> Audit:
    """Return the list against the rows; what was submitted before SETTLED has to be in it."""
    return audit.compare(shown, rows, SETTLED)


def video(video_id: int = 1, state: State = State.PENDING, **known: object) -> AuditRow:
    """Return a video that was, or would be, sent as ``r-<id>``."""
    values: dict[str, object] = {
        "claims": 1,
        "url": f"https://example.org/{video_id}.mp4",
        "identifier": f"r-{video_id}",
        "made": True,
        "job_id": None,
        "submitted_at": None,
        **known,
    }
    return AuditRow(video_id=video_id, state=state, **values)  # type: ignore[arg-type]


def found(matches: object) -> list[tuple[int, str | None, bool]]:
    """Return matches as video, job, and whether they are sure."""
    assert isinstance(matches, list)
    return [(match.row.video_id, match.entry.job_id, match.sure) for match in matches]


def test_a_list_that_fits_is_clean() -> None:
    """The audit is clean if each job has its video and each video its job."""
    held = video(1, State.SUBMITTED, job_id="job-a")
    result = compare(listing(entry("job-a", "r-1")), [held, video(2)])
    assert Audit(bought=[], twice=[], duplicates=[], unknown=[], gone=[], foreign=[]) == result
    assert result.clean


def test_jobs_in_error_are_counted_where_a_video_has_them() -> None:
    """Jobs of videos here, earlier ones too, that the list shows in error are counted."""
    rows = [video(n, State.SUBMITTED, job_id=f"job-{n}") for n in (1, 2)]
    entries = [entry(f"job-{n}", f"r-{n}", status="error") for n in (1, 3, 4)]
    entries.append(entry("job-2", "r-2", status="finished"))
    assert 2 == audit.compare(listing(*entries), rows, SETTLED, {"job-3"}).failed


def test_jobs_of_one_address_are_counted_beyond_the_first() -> None:
    """Law 17: two videos of one address that have a job each are perhaps bought twice."""
    rows = [video(n, State.SUBMITTED, job_id=f"job-{n}", url=URL) for n in (1, 2, 3)]
    rows += [video(4, State.SUBMITTED, job_id="job-4"), video(5, State.FAILED, url=URL)]
    assert 2 == compare(listing(), rows).same_address


def test_a_pending_video_that_has_a_job_is_bought() -> None:
    """A pending video with a job already is found, as after a restored backup."""
    result = compare(listing(entry("job-a", "r-1")), [video(1), video(2)])
    assert [(1, "job-a", True)] == found(result.bought)
    assert ([], [], [], []) == (result.twice, result.unknown, result.gone, result.foreign)
    assert not result.clean


def test_a_second_job_of_a_video_is_twice() -> None:
    """A second purchase is found, and the video's own job is not offered to cancel."""
    held = video(1, State.SUBMITTED, job_id="job-own")
    result = compare(listing(entry("job-own", "r-1"), entry("job-b", "r-1")), [held])
    assert [(1, "job-b", True)] == found(result.twice) == found(result.duplicates)
    assert ([], [], [], []) == (result.bought, result.unknown, result.gone, result.foreign)
    assert not result.clean


@pytest.mark.parametrize("own", [[], [entry("job-own", "r-1", status="error")]])
def test_the_only_living_job_of_a_video_is_no_duplicate(own: list[Entry]) -> None:
    """A second job is not offered to cancel if the video's own is gone or has failed."""
    held = video(1, State.SUBMITTED, job_id="job-own")
    result = compare(listing(*own, entry("job-b", "r-1")), [held])
    assert [(1, "job-b", True)] == found(result.twice)
    assert [] == found(result.duplicates)


@pytest.mark.parametrize("state", [State.IN_DOUBT, State.FAILED, State.CANCELLED, State.SUBMITTING])
def test_a_job_of_any_other_video_is_unknown(state: State) -> None:
    """A job of a video in any other state is reported as unknown, not as bought."""
    result = compare(listing(entry("job-a", "r-1")), [video(1, state)])
    assert [(1, "job-a", True)] == found(result.unknown)
    assert ([], [], [], []) == (result.bought, result.twice, result.gone, result.foreign)
    assert not result.clean


def test_a_video_whose_job_is_not_shown_is_gone() -> None:
    """A submitted video whose job is not shown is found."""
    rows = [video(n, State.SUBMITTED, job_id=f"job-{n}") for n in (1, 2)]
    result = compare(listing(entry("job-1", "r-1")), [*rows, video(3)])
    assert [rows[1]] == result.gone
    assert not result.clean


@pytest.mark.parametrize(("seconds", "gone"), [(-1, True), (0, False), (1, False)])
def test_a_job_that_was_made_just_now_is_not_gone(seconds: int, *, gone: bool) -> None:
    """A worker goes on beside the audit, and a list may show a new job late."""
    made = SETTLED + timedelta(seconds=seconds)
    row = video(1, State.SUBMITTED, job_id="job-1", submitted_at=made)
    assert ([row] if gone else []) == compare(listing(), [row]).gone


def test_a_part_of_a_list_takes_no_job_away() -> None:
    """A list that may be incomplete reports no job as gone."""
    held = video(1, State.SUBMITTED, job_id="job-1")
    result = compare(listing(paged="it says next"), [held])
    assert result.gone is None
    assert result.clean


def test_jobs_of_no_video_are_counted() -> None:
    """Jobs of no video here are counted, and the audit stays clean."""
    result = compare(listing(entry("a", "x"), entry("b"), entry(None, url=URL)), [])
    assert (3, True) == (len(result.foreign), result.clean)


def test_a_job_that_a_video_has_is_no_other_videos() -> None:
    """A video added a second time on purpose does not lose its turn to the first one's job."""
    held = video(1, State.SUBMITTED, job_id="job-a", url=URL)
    result = compare(listing(entry("job-a", "r-1", "r-2", url=URL)), [held, video(2, url=URL)])
    assert ([], []) == (result.bought, result.foreign)


@pytest.mark.parametrize(
    ("made", "urls", "expected"),
    [
        (True, None, [(1, "job-a", True)]),
        (True, OTHER_URL, [(1, "job-a", True)]),
        (False, URL, [(1, "job-a", True)]),
        (False, None, [(1, "job-a", False)]),
        (False, OTHER_URL, []),
    ],
)
def test_an_identifier_that_others_may_send_needs_the_address(
    made: bool,  # noqa: FBT001 - a parameter of the test
    urls: str | None,
    expected: list[tuple[int, str | None, bool]],
) -> None:
    """Two databases may both send media id 1: only a random one of ours proves it alone."""
    result = compare(listing(entry("job-a", "r-1", url=urls)), [video(1, made=made)])
    assert expected == found(result.bought)
    assert (0 if expected else 1) == len(result.foreign)


@pytest.mark.parametrize(
    ("entries", "rows"),
    [
        ([entry("a", "r-1"), entry("b", "r-1")], [video(1)]),
        ([entry("a", "r-1", "r-2")], [video(1), video(2)]),
        ([entry("a", "r-1", "theirs")], [video(1)]),
        ([entry("a", "r-1")], [video(1), video(2, identifier="r-1")]),
        ([entry(None, "r-1")], [video(1)]),
        ([entry("a", url=URL), entry("b", url=URL)], [video(1)]),
        ([entry("a", url=URL)], [video(1), video(2, url=URL)]),
        ([entry(None, url=URL)], [video(1)]),
    ],
)
def test_what_is_not_one_to_one_is_never_sure(entries: list[Entry], rows: list[AuditRow]) -> None:
    """Nothing is taken over or cancelled where a job could be another video's."""
    result = compare(listing(*entries), rows)
    assert len(result.bought) == max(len(entries), len(rows))
    assert not any(match.sure for match in result.bought)
    assert [] == result.foreign


def test_a_pending_video_is_known_by_its_address_too() -> None:
    """A job that an older script submitted under another identifier is matched by address."""
    result = compare(listing(entry("job-a", "theirs", url=URL)), [video(1), video(2)])
    assert [(1, "job-a", True)] == found(result.bought)


SIGNED = "https://b.s3.amazonaws.com/1.mp4?X-Amz-Date={0}&X-Amz-Signature={0}"


@pytest.mark.parametrize("identifier", ["r-1", "theirs"])
def test_another_signature_is_no_other_address(identifier: str) -> None:
    """A link that was signed anew after the purchase is the same video's."""
    rows = [video(1, made=False, url=SIGNED.format("2")), video(2)]
    result = compare(listing(entry("job-a", identifier, url=SIGNED.format("1"))), rows)
    assert [(1, "job-a", True)] == found(result.bought)


UPLOADED = "valossaupload://u-1"


@pytest.mark.parametrize("url", ["file:///media/1.mp4", "valossaupload://u-2"])
def test_a_file_that_was_uploaded_elsewhere_is_perhaps_its_media_ids(url: str) -> None:
    """A restored database knows no later upload, and another may send the same media id."""
    rows = [video(1, made=False, url=url), video(2, made=False, identifier="r-2")]
    shown = listing(entry("job-a", "r-1", url=UPLOADED), entry("job-b", "r-2", url=UPLOADED))
    result = compare(shown, rows)
    assert [(1, "job-a", False)] == found(result.bought)
    assert ["job-b"] == [each.job_id for each in result.foreign]


@pytest.mark.parametrize(("files", "uploads"), [(True, 1), (False, 0)])
def test_an_uploaded_file_of_nobody_is_a_problem_beside_files_that_wait(
    files: bool,  # noqa: FBT001 - a parameter of the test
    uploads: int,
) -> None:
    """It may be one of them, and nobody can know."""
    shown = listing(entry("a", url=UPLOADED), entry("b", url=OTHER_URL))
    result = audit.compare(shown, [], SETTLED, files=files)
    assert (uploads, uploads == 0) == (result.uploads, result.clean)


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FAILED, State.IN_DOUBT])
def test_the_address_speaks_of_pending_videos_only(state: State) -> None:
    """A second purchase of one address by another program is no second job of this video."""
    job_id = "job-own" if state is State.SUBMITTED else None
    known = video(1, state, job_id=job_id)
    result = compare(listing(entry("job-own", "r-1"), entry("b", url=URL)), [known])
    named = [] if job_id else [(1, "job-own", True)]
    assert ([], [], named, 1) == (
        result.bought,
        result.twice,
        found(result.unknown),
        len(result.foreign),
    )


def test_an_identifier_says_more_than_an_address() -> None:
    """A job that names its video is not offered to another one with the same address."""
    rows = [video(1, url=URL), video(2, url=URL)]
    result = compare(listing(entry("job-a", "r-2", url=URL)), rows)
    assert [(2, "job-a", True)] == found(result.bought)


@pytest.mark.parametrize(
    ("job", "waits"),
    [
        (entry("a", "r-1", status="queued"), True),
        (entry("a", "r-1", status="on_hold"), True),
        (entry("a", "r-1", status="processing"), False),
        (entry("a", "r-1", status="finished"), False),
        (entry("a", "r-1", status=None), False),
        (entry(None, "r-1", status="queued"), False),
    ],
)
def test_only_what_waits_can_be_cancelled(job: Entry, waits: bool) -> None:  # noqa: FBT001
    """A second job that is being analysed, or cannot be named, is not asked about."""
    held = video(1, State.SUBMITTED, job_id="job-own")
    result = compare(listing(entry("job-own", "r-1"), job), [held])
    assert [job] == [match.entry for match in result.twice]
    assert waits is bool(result.duplicates)


@pytest.mark.parametrize("kind", ["bought", "twice", "unknown", "gone"])
def test_each_kind_of_difference_is_one(kind: str) -> None:
    """An audit with a finding of any kind is not clean."""
    kinds = ("bought", "twice", "duplicates", "unknown", "gone")
    nothing: dict[str, object] = {each: [] for each in kinds}
    something = [video()] if kind == "gone" else [Match(row=video(), entry=entry(), sure=False)]
    result = Audit(**{**nothing, kind: something})  # type: ignore[arg-type]
    assert not result.clean
    assert Audit(**nothing, foreign=[entry()]).clean  # type: ignore[arg-type]

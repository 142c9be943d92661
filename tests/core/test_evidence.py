from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.evidence import (
    Absent,
    Ambiguous,
    Doubt,
    Evidence,
    Found,
    NeighbourAcceptance,
    NoEvidence,
    Resolvable,
    Verdict,
    judge,
    sighted,
    unlisted,
)
from worker.core.job_list import Entry, Listing, Unlisted

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
SETTLE = timedelta(seconds=300)
MADE = "0123456789abcdef" * 2
URL = "https://example.org/7.mp4"


def at(seconds: float) -> datetime:
    """Return that many seconds after the doubt's request began."""
    return START + timedelta(seconds=seconds)


def entry(job_id: str | None, *identifiers: str, url: str | None = None) -> Entry:
    """Return a job as a list shows it."""
    urls = frozenset({url} if url else ())
    return Entry(job_id=job_id, status=None, identifiers=frozenset(identifiers), urls=urls)


BEFORE = NeighbourAcceptance(job_id="before", request_id="1", at=at(-5))
BETWEEN = NeighbourAcceptance(job_id="between", request_id="2", at=at(3))
AFTER = NeighbourAcceptance(job_id="after", request_id="3", at=at(70))
SHOWN = (entry("before", "1"), entry("between", "2"), entry("after", "3"))
HELD = {"before", "between", "after"}
DOUBT = Doubt(
    video_id=7,
    attempt=2,
    attempts=1,
    url=URL,
    media_id=None,
    request_id=MADE,
    unique=True,
    began_at=START,
    recorded_at=at(60),
    before=True,
    after=True,
    neighbours=(BEFORE, BETWEEN, AFTER),
)
NAMED = replace(DOUBT, media_id="clip-7", request_id="clip-7")


def evidence(
    *entries: Entry, seconds: float = 360, paged: str | None = None, held: set[str] = HELD
) -> Evidence:
    """Return a list that was asked for that many seconds after the request began."""
    found = Listing(entries=entries, paged=paged, shape="")
    return Evidence.of(found, at(seconds), held, SETTLE)


def why(verdict: Verdict | None) -> str:
    """Return the reason of a doubt that stays."""
    assert isinstance(verdict, Ambiguous | NoEvidence)
    return verdict.reason


WHOLE = evidence(*SHOWN)


@pytest.mark.parametrize("doubt", [DOUBT, NAMED])
def test_what_a_whole_list_does_not_show_is_absent(doubt: Doubt) -> None:
    """A video that was never bought is sent again by itself, to the second of the settle time."""
    assert Absent() == judge(doubt, WHOLE)
    stranger = entry("theirs", "another", url="https://example.org/8.mp4")
    assert Absent() == judge(doubt, evidence(stranger, *reversed(SHOWN)))
    assert Absent() == judge(doubt, evidence(*SHOWN, held={"before"}))


def test_an_earlier_job_of_the_video_is_not_the_one_in_doubt() -> None:
    """A video that is bought anew keeps its identifier, and its first job is no sign of a second:
    absence is proven beside it, and the second one is found.
    """
    first, held = entry("first", MADE), {*HELD, "first"}
    doubt = replace(DOUBT, earlier=("first",))
    assert Absent() == judge(doubt, evidence(*SHOWN, first, held=held))
    second = entry("second", MADE)
    assert Found("second") == judge(doubt, evidence(*SHOWN, first, second, held=held))


def test_a_young_doubt_is_not_absent() -> None:
    """Absence does not count before the settle time, since a list may show a job late."""
    verdict = judge(DOUBT, evidence(*SHOWN, seconds=359.999))
    assert isinstance(verdict, NoEvidence)
    assert (True, Resolvable.TIME) == ("from 12:06:00 UTC on" in verdict.reason, verdict.resolvable)


@pytest.mark.parametrize(
    ("doubt", "settle_seconds", "reason"),
    [
        (DOUBT, 300, "yet; it counts as absent from 12:06:00 UTC on"),
        (DOUBT, 86_400, "yet; it counts as absent from 2026-01-02 12:01:00 UTC on"),
        (
            replace(DOUBT, after=False),
            300,
            "yet; it counts as absent from 12:06:00 UTC on, once a video begun later is accepted",
        ),
        (
            replace(DOUBT, unique=False),
            300,
            f"yet, which alone proves no absence: another video has the identifier {MADE} too",
        ),
        (
            replace(NAMED, request_id="Ääni"),
            300,
            "yet, which alone proves no absence: the identifier 'Ääni' may come back changed",
        ),
    ],
)
def test_an_absence_is_promised_only_where_it_can_be_proven(
    doubt: Doubt, settle_seconds: float, reason: str
) -> None:
    """A young doubt's row names the moment of its absence, or what keeps one from counting."""
    seen = replace(evidence(*SHOWN, seconds=70), settle_after=timedelta(seconds=settle_seconds))
    assert f"not in the API's list {reason}" == why(judge(doubt, seen))


@pytest.mark.parametrize(
    ("doubt", "seen", "resolvable", "reason"),
    [
        (
            DOUBT,
            evidence(*SHOWN, paged="it says next"),
            Resolvable.NONE,
            "a part only: it says next",
        ),
        (replace(DOUBT, unique=False), WHOLE, Resolvable.NONE, f"the identifier {MADE} too"),
        (replace(NAMED, request_id="Ääni"), WHOLE, Resolvable.NONE, "'Ääni' may come back changed"),
        (replace(NAMED, request_id="x" * 65), WHOLE, Resolvable.NONE, "may come back changed"),
        (replace(NAMED, request_id="a b"), WHOLE, Resolvable.NONE, "'a b' may come back changed"),
        (replace(NAMED, request_id="a\n"), WHOLE, Resolvable.NONE, "may come back changed"),
        (replace(NAMED, request_id=""), WHOLE, Resolvable.NONE, "may come back changed"),
        (
            replace(DOUBT, began_at=None, before=False),
            WHOLE,
            Resolvable.NONE,
            "history does not say",
        ),
        (replace(DOUBT, before=False), WHOLE, Resolvable.NONE, "no video was accepted before it"),
        (
            replace(DOUBT, after=False),
            WHOLE,
            Resolvable.NEWS,
            "when a video begun later is accepted",
        ),
        (DOUBT, evidence(*SHOWN, entry("theirs")), Resolvable.NONE, "1 jobs without an identifier"),
        (DOUBT, evidence(*SHOWN, entry(None)), Resolvable.NONE, "1 jobs without an identifier"),
    ],
)
def test_one_condition_less_is_no_proof(
    doubt: Doubt, seen: Evidence, resolvable: Resolvable, reason: str
) -> None:
    """Law 3: whatever is missing of a proof, the video stays in doubt, and the row says why."""
    verdict = judge(doubt, seen)
    assert isinstance(verdict, NoEvidence)
    assert (True, resolvable) == (reason in verdict.reason, verdict.resolvable)


@pytest.mark.parametrize("hidden", [0, 1, 2])
@pytest.mark.parametrize("shown_as", [(), ("other",)])
def test_every_acceptance_around_it_must_be_shown(hidden: int, shown_as: tuple[str, ...]) -> None:
    """A list that is late or cut off hides a neighbour too; one that changes identifiers, or shows
    none, would not show ours either.
    """
    missing = [each for place, each in enumerate(SHOWN) if place != hidden]
    verdict = judge(DOUBT, evidence(*missing))
    assert f"does not show job {DOUBT.neighbours[hidden].job_id}" in why(verdict)
    changed = entry(DOUBT.neighbours[hidden].job_id, *shown_as)
    verdict = judge(DOUBT, evidence(*missing, changed))
    assert f"does not show job {DOUBT.neighbours[hidden].job_id}" in why(verdict)


@pytest.mark.parametrize(
    ("seconds", "resolvable"),
    [(360, Resolvable.TIME), (369.9, Resolvable.TIME), (370, Resolvable.NONE)],
)
def test_a_neighbour_may_be_shown_later(seconds: float, resolvable: Resolvable) -> None:
    """A drain that waits does so while the list may still catch up, and no longer."""
    verdict = judge(DOUBT, evidence(*SHOWN[:2], seconds=seconds))
    assert isinstance(verdict, NoEvidence)
    assert resolvable == verdict.resolvable


def test_a_neighbour_whose_row_is_gone_proves_nothing() -> None:
    """A neighbour whose row is gone proves nothing."""
    doubt = replace(DOUBT, neighbours=(BEFORE, replace(BETWEEN, request_id=None), AFTER))
    assert "does not show job between" in why(judge(doubt, evidence(*SHOWN)))


def test_a_neighbour_that_is_bought_anew_is_shown_by_its_job() -> None:
    """A neighbour under another identifier now is shown by its job; one that is missing is not."""
    renamed = replace(BETWEEN, request_id="new", renamed=True)
    doubt = replace(DOUBT, neighbours=(BEFORE, renamed, AFTER))
    assert Absent() == judge(doubt, evidence(*SHOWN))
    shown = [each for each in SHOWN if each.job_id != "between"]
    assert "does not show job between" in why(judge(doubt, evidence(*shown)))


def test_jobs_that_we_hold_need_no_identifier() -> None:
    """A job that a video of ours holds does not count as nameless."""
    assert Absent() == judge(DOUBT, evidence(*SHOWN, entry("held"), held={*HELD, "held"}))


@pytest.mark.parametrize(
    ("doubt", "job"),
    [
        (DOUBT, entry("job-7", MADE)),
        (DOUBT, entry("job-7", MADE, url="https://example.org/changed.mp4")),
        (NAMED, entry("job-7", "clip-7", url=URL)),
        (replace(NAMED, request_id="Ääni 7"), entry("job-7", "Ääni 7", url=URL)),
    ],
)
def test_a_job_under_our_identifier_is_found(doubt: Doubt, job: Entry) -> None:
    """A lost answer is found again in any list, however young, cut off or alone: a job that is
    shown exists.
    """
    for seen in (
        evidence(*SHOWN, job),
        evidence(job, seconds=0, paged="it says next"),
        evidence(job, entry("theirs"), entry("taken", doubt.request_id), held={"taken"}),
    ):
        assert Found("job-7") == judge(doubt, seen)
    bare = replace(doubt, before=False, after=False, began_at=None, neighbours=())
    assert Found("job-7") == judge(bare, evidence(job, seconds=0))


@pytest.mark.parametrize(
    ("doubt", "jobs", "named"),
    [
        (DOUBT, [entry("a", MADE), entry("b", MADE)], "a, b"),
        (DOUBT, [entry(None, MADE)], "one without a job id"),
        (DOUBT, [entry("a", MADE, "another")], "a"),
        (DOUBT, [entry("before", MADE)], "before"),
        (replace(DOUBT, unique=False), [entry("a", MADE)], "a"),
        (NAMED, [entry("a", "clip-7")], "a"),
        (NAMED, [entry("a", "clip-7", url="https://example.org/8.mp4")], "a"),
        (replace(DOUBT, media_id="clip-7"), [entry("a", MADE)], "a"),
        (replace(DOUBT, request_id=MADE.upper()), [entry("a", MADE.upper())], "a"),
        (replace(DOUBT, request_id=MADE[1:]), [entry("a", MADE[1:])], "a"),
        (DOUBT, [entry("a", url=URL)], "a"),
        (NAMED, [entry("a", "CLIP-7", url=URL)], "a"),
        (DOUBT, [entry(f"j{n}", MADE) for n in range(5)], "j0, j1, j2 and 2 more"),
    ],
)
def test_a_job_that_only_may_be_ours_is_for_a_person(
    doubt: Doubt, jobs: list[Entry], named: str
) -> None:
    """Two databases may share a key and count from 1: what is not sure stays a doubt, and the row
    names the job and the command.
    """
    seen = evidence(*SHOWN, *jobs)
    expected = (
        f"the API's list shows {named}, perhaps of this video: look, then "
        "valossa-ingest resolve id=7 --job-id X"
    )
    assert Ambiguous(expected) == judge(doubt, seen) == sighted(doubt, seen)


def test_another_videos_job_is_not_like_ours() -> None:
    """A job of the same address keeps no doubt alive if it is held, or made by us for another."""
    held = entry("before", "1", url=URL)
    made = entry("theirs", "f" * 32, url=URL)
    assert Absent() == judge(DOUBT, evidence(held, *SHOWN[1:], made))


def test_nothing_of_the_kind_is_no_sight() -> None:
    """A video that a 500 turned away is sent again where the list shows nothing of it."""
    assert sighted(DOUBT, WHOLE) is None


@pytest.mark.parametrize(
    ("lasting", "seconds", "resolvable"),
    [
        (False, 359.9, Resolvable.TIME),
        (False, 360, Resolvable.NEWS),
        (True, 0, Resolvable.NONE),
        (True, 360, Resolvable.NONE),
    ],
)
def test_no_list_is_no_evidence(*, lasting: bool, seconds: float, resolvable: Resolvable) -> None:
    """An API without a list leaves every doubt to a person, and says so."""
    verdict = unlisted(DOUBT, Unlisted(reason="HTTP 404", lasting=lasting), at(seconds), SETTLE)
    assert NoEvidence("no list of jobs: HTTP 404", resolvable) == verdict


@dataclass(frozen=True)
class Job:
    """A job as the API really has it: made at a second of the server's, in ``flight`` before and
    after. Ours have a number; a doubt's answer is lost.
    """

    made: float
    before: float
    after: float
    kind: str


KINDS = st.sampled_from(["ours", "doubt", "never", "theirs"])
MOMENTS = st.integers(0, 12).map(lambda number: 10.0 * number)
CUTS = st.integers(-1, 13).map(lambda number: 10.0 * number - 5)
JOBS = st.builds(Job, made=MOMENTS, before=st.floats(0, 15), after=st.floats(0, 15), kind=KINDS)


@dataclass(frozen=True)
class World:
    """Jobs at the API, and what our table knows of those that are ours."""

    jobs: Sequence[Job]

    def shown(self, first: float, last: float) -> list[Entry]:
        """Return the truth between two seconds of the server's; what never arrived made no job."""
        return [
            entry(f"job-{n}", self.identifier(n))
            for n, job in enumerate(self.jobs)
            if job.kind != "never" and first <= job.made <= last
        ]

    def identifier(self, number: int) -> str:
        """Return what was sent for this one."""
        return f"{number:032x}"

    def doubts(self) -> list[tuple[Doubt, bool]]:
        """Return every doubt with the window around it, and whether its job exists."""
        found = []
        for n, job in enumerate(self.jobs):
            if job.kind not in {"doubt", "never"}:
                continue
            began, over = job.made - job.before, job.made + job.after
            ours = sorted(
                (j.made + j.after, i) for i, j in enumerate(self.jobs) if j.kind == "ours"
            )
            first = [i for done, i in ours if done <= began][-1:]
            begun_later = [i for _, i in ours if self.jobs[i].made - self.jobs[i].before >= over]
            last = begun_later[:1]
            low = self.jobs[first[0]].made + self.jobs[first[0]].after if first else 0
            high = self.jobs[last[0]].made + self.jobs[last[0]].after if last else 0
            neighbours = [
                NeighbourAcceptance(job_id=f"job-{i}", request_id=self.identifier(i), at=at(done))
                for done, i in ours
                if first and last and low <= done <= high
            ]
            doubt = Doubt(
                video_id=n + 1,
                attempt=1,
                attempts=1,
                url=f"https://example.org/{n}.mp4",
                media_id=None,
                request_id=self.identifier(n),
                unique=True,
                began_at=at(began),
                recorded_at=at(over),
                before=bool(first),
                after=bool(last),
                neighbours=neighbours,
            )
            found.append((doubt, job.kind == "doubt"))
        return found


@given(
    jobs=st.lists(JOBS, min_size=3, max_size=10),
    asked=st.sampled_from([0.0, 100.0, 350.0, 1_000.0]),
    first=CUTS,
    last=CUTS,
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=400)
def test_no_list_that_is_late_cut_off_or_out_of_order_lies(
    jobs: list[Job], asked: float, first: float, last: float, random: Random
) -> None:
    """Law 3: whatever the API's list leaves out as a whole, no video is sent a second time for it,
    and none gets another's job.
    """
    world = World(jobs)
    shown = world.shown(first, min(last, asked))
    random.shuffle(shown)
    held = {f"job-{n}" for n, job in enumerate(jobs) if job.kind == "ours"}
    seen = Evidence.of(Listing(entries=tuple(shown), paged=None, shape=""), at(asked), held, SETTLE)
    for doubt, exists in world.doubts():
        if doubt.recorded_at > at(asked):
            continue
        match judge(doubt, seen):
            case Absent():
                assert not exists
            case Found(job_id):
                assert (True, f"job-{doubt.video_id - 1}") == (exists, job_id)


@given(jobs=st.lists(JOBS, max_size=12))
def test_a_whole_list_settles_what_has_neighbours(jobs: list[Job]) -> None:
    """A doubt between two acceptances never waits for a person."""
    world = World(jobs)
    held = {f"job-{n}" for n, job in enumerate(jobs) if job.kind == "ours"}
    whole = Listing(entries=tuple(world.shown(0, 1_000)), paged=None, shape="")
    seen = Evidence.of(whole, at(2_000), held, SETTLE)
    for doubt, exists in world.doubts():
        verdict = judge(doubt, seen)
        if exists:
            assert Found(f"job-{doubt.video_id - 1}") == verdict
        elif doubt.before and doubt.after:
            assert Absent() == verdict

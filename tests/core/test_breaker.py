from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.breaker import (
    CROWD,
    EQUAL_REFUSALS,
    FIRST_COOL_DOWN_SECONDS,
    LONGEST_COOL_DOWN_SECONDS,
    Breaker,
    observe,
)
from worker.core.model import (
    Accepted,
    AccountRefused,
    Claim,
    InDoubt,
    Invalid,
    NotSent,
    Outcome,
    Refused,
    Released,
    Throttled,
    TryLater,
    Video,
    WrongAddress,
)
from worker.core.reasons import Stop, StopReason

ACCEPTED = Accepted("job", 200)
REFUSED = Refused("HTTP 400: no", 400)
ACCOUNT = AccountRefused("HTTP 401: who?", 401)
ADDRESS = WrongAddress("HTTP 404: where?", 404)
LATER = TryLater("HTTP 503: oops", 503)
LOST = InDoubt("no answer")
UNCLEAR = (LOST, NotSent("no way"), Throttled("slow down", 429), LATER)
"""Endings that tell neither yes nor no."""

UNMADE = (Released("our own stop"), Invalid("url: is empty"))
"""Endings of attempts that made no request."""

KEY_OR_ADDRESS = [
    pytest.param(ACCOUNT, StopReason.ACCOUNT, id="account"),
    pytest.param(AccountRefused("HTTP 402: pay", 402), StopReason.ACCOUNT, id="payment"),
    pytest.param(ADDRESS, StopReason.ADDRESS, id="address"),
]
TRUSTED = Breaker(trusted=True)
SLOTS = 8


def claim(video_id: int, own: Sequence[str] = ()) -> Claim:
    """Return a claim of a video, whose row has these values."""
    columns = ("media_id", "title", "description", "language", "email_group")
    return Claim(
        video_id=video_id,
        video=Video(url="", **dict(zip(columns, own, strict=False))),  # type: ignore[arg-type]
        attempt=1,
        attempts=0,
        token="token",
        request_id="",
        lease_until=datetime(2026, 1, 1, tzinfo=UTC),
    )


@dataclass
class Story:
    """A breaker and what it is told; each ending is of a request that begins and ends a second
    after the one before, with another video, unless the teller says otherwise.
    """

    breaker: Breaker = field(default_factory=Breaker)
    now: float = 100.0
    video_id: int = 0
    dice: float = 0.0

    def end(
        self,
        outcome: Outcome,
        *,
        video_id: int | None = None,
        began: float | None = None,
        own: tuple[str, ...] = (),
    ) -> Outcome:
        """Tell one ending; the outcome as it is to be settled."""
        self.video_id += 1
        its = claim(1_000 + self.video_id if video_id is None else video_id, own)
        began = self.now + 0.5 if began is None else began
        self.now += 1
        self.breaker, settled = observe(self.breaker, its, outcome, began, self.now, self.dice)
        return settled

    def end_all(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Tell many."""
        return [self.end(outcome) for outcome in outcomes]

    @property
    def room(self) -> int:
        """Return how many requests may be in flight when none is."""
        return self.breaker.free_slots(0, SLOTS)

    @property
    def pause(self) -> float:
        """Seconds from now until anybody may begin."""
        return max(0.0, self.breaker.cool_until - self.now)

    def wait(self) -> None:
        """Sit the cool-down out."""
        self.now = max(self.now, self.breaker.cool_until)


def trusting() -> Story:
    """Return a story whose breaker has seen a clear answer."""
    return Story(TRUSTED)


# It begins without trust.


def test_it_begins_with_one_request() -> None:
    """Before the API has said anything clear, one request at a time is in flight."""
    assert [1, 0, -2] == [Breaker().free_slots(in_flight, SLOTS) for in_flight in (0, 1, 3)]


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_the_first_clear_answer_opens_all_slots(outcome: Outcome) -> None:
    """A yes or a no about a video shows that the API works, and lifts the restraint."""
    story = Story()
    assert outcome == story.end(outcome)
    assert [8, 5, 0] == [story.breaker.free_slots(in_flight, SLOTS) for in_flight in (0, 3, 8)]


@pytest.mark.parametrize("outcome", [*UNCLEAR, *UNMADE, ACCOUNT, ADDRESS], ids=repr)
def test_nothing_else_opens_them(outcome: Outcome) -> None:
    """An ending that says nothing about a video earns no trust."""
    story = Story()
    assert outcome == story.end(outcome)
    assert 1 == story.room


@pytest.mark.parametrize("outcome", UNMADE, ids=repr)
def test_what_made_no_request_teaches_nothing(outcome: Outcome) -> None:
    """A row that was never sent says nothing about the API."""
    before = Breaker(blanks=CROWD - 1)
    story = Story(before)
    assert outcome == story.end(outcome)
    assert before == story.breaker


# Law 8: a refused account stops the run, and one stray refusal does not.


@pytest.mark.parametrize("refusal", [ACCOUNT, ADDRESS], ids=["account", "address"])
def test_law_8_one_stray_refusal_does_not_stop(refusal: Outcome) -> None:
    """A single refused account holds the run back to one request, until another one succeeds."""
    story = trusting()
    assert refusal == story.end(refusal)
    assert (None, 1) == (story.breaker.stop, story.room)
    story.end(ACCEPTED)
    assert (None, SLOTS) == (story.breaker.stop, story.room)


@pytest.mark.parametrize(("refusal", "trouble"), KEY_OR_ADDRESS)
def test_law_8_a_second_videos_refusal_stops(refusal: Outcome, trouble: StopReason) -> None:
    """The account is refused once a request for another video, begun later, is refused as well."""
    story = trusting()
    story.end(refusal)
    story.end(refusal)
    expected = Stop(reason=trouble, message=refusal.message or "")
    assert expected == story.breaker.stop


def test_law_8_nothing_is_charged() -> None:
    """A refused account leaves every row as it was: none is failed, none is named."""
    story = trusting()
    assert [ACCOUNT] * 30 == story.end_all([ACCOUNT] * 30)
    stop = story.breaker.stop
    assert stop
    assert () == stop.videos


@pytest.mark.parametrize("began", [50.0, 100.9], ids=["long-before", "just-before"])
def test_law_8_an_earlier_requests_success_confirms_nothing(began: float) -> None:
    """A success that began before the refusal was seen does not say that the key still works."""
    story = trusting()
    story.end(ACCOUNT)
    story.end(ACCEPTED, began=began)
    assert 1 == story.room
    story.end(ACCOUNT)
    assert story.breaker.stop


@pytest.mark.parametrize("began", [50.0, 100.9], ids=["long-before", "just-before"])
def test_law_8_an_earlier_requests_refusal_confirms_nothing(began: float) -> None:
    """Refusals of one flight are one moment's trouble: a request begun later must confirm it."""
    story = trusting()
    story.end(ACCOUNT)
    assert ACCOUNT == story.end(ACCOUNT, began=began)
    assert (None, 1) == (story.breaker.stop, story.room)
    story.end(ACCOUNT)
    assert story.breaker.stop


def test_law_8_an_earlier_requests_success_still_counts_for_the_rest() -> None:
    """A success of the refused one's flight shows that the API answers: no crowd, no equal row."""
    story = trusting()
    refusals(story, EQUAL_REFUSALS - 1)
    story.end_all([*[LOST] * 6, ACCOUNT])
    story.end(ACCEPTED, began=99.0)
    story.end(LOST)
    refusals(story, 1)
    assert (None, 0) == (story.breaker.stop, story.pause)


def test_law_8_a_whole_flight_of_refusals_is_confirmed_first() -> None:
    """Even when all slots are refused at once, the run stops only by a request begun afterwards."""
    story = trusting()
    for _ in range(3 * SLOTS):
        story.end(ACCOUNT, began=99.0)
    assert None is story.breaker.stop
    story.wait()
    story.end(ACCOUNT)
    assert story.breaker.stop


def test_law_8_the_confirming_request_carries_another_video() -> None:
    """A video that is refused twice does not confirm itself."""
    story = trusting()
    story.end(ACCOUNT, video_id=1)
    assert ACCOUNT == story.end(ACCOUNT, video_id=1)
    assert None is story.breaker.stop
    story.end(ACCOUNT, video_id=2)
    assert story.breaker.stop


def test_law_8_a_lone_video_cannot_go_on_for_ever() -> None:
    """Where no other video comes to confirm it, a crowd of refusals of the same one stops."""
    story = trusting()
    for _ in range(CROWD - 1):
        story.end(ACCOUNT, video_id=1)
    assert None is story.breaker.stop
    story.end(ACCOUNT, video_id=1)
    assert story.breaker.stop


def test_law_8_the_cleared_videos_second_refusal_is_its_own() -> None:
    """A video that is refused again after another was accepted fails, and stops nothing."""
    story = trusting()
    story.end(ACCOUNT, video_id=1)
    story.end(ACCEPTED, video_id=2)
    before = story.breaker
    assert Refused("HTTP 401: who?", 401) == story.end(ACCOUNT, video_id=1)
    assert before == story.breaker


def test_law_8_another_video_is_not_cleared_by_it() -> None:
    """Only the video that was refused first is known to be refused on its own account."""
    story = trusting()
    story.end(ACCOUNT, video_id=1)
    story.end(ACCEPTED, video_id=2)
    assert ACCOUNT == story.end(ACCOUNT, video_id=3)
    assert 1 == story.room


def test_law_8_a_cleared_video_confirms_nothing() -> None:
    """A video known to be refused on its own is no witness against the account, and not charged."""
    story = trusting()
    story.end(ACCOUNT, video_id=1)
    story.end(ACCEPTED, video_id=2)
    story.end(ACCOUNT, video_id=3)
    assert ACCOUNT == story.end(ACCOUNT, video_id=1)
    assert None is story.breaker.stop


def test_law_8_after_a_stop_no_video_is_known_any_more() -> None:
    """A video cleared under the old key is asked again under the new one."""
    story = trusting()
    story.end(ACCOUNT, video_id=1)
    story.end(ACCEPTED)
    story.end_all([ACCOUNT, ACCOUNT])
    assert story.breaker.stop
    story.end(ACCEPTED)
    assert ACCOUNT == story.end(ACCOUNT, video_id=1)


def test_law_8_unclear_endings_neither_confirm_nor_clear() -> None:
    """Between a refusal and its confirmation, a time-out leaves the question open."""
    story = trusting()
    story.end_all([ACCOUNT, LOST, *UNMADE])
    assert (None, 1) == (story.breaker.stop, story.room)
    story.end(ACCOUNT)
    assert story.breaker.stop


def test_law_8_a_video_refused_for_itself_does_not_clear_the_account() -> None:
    """A refusal of one video does not show that the key works."""
    story = trusting()
    story.end_all([ACCOUNT, REFUSED])
    assert 1 == story.room
    story.end(ACCOUNT)
    assert story.breaker.stop


def test_a_stopped_run_probes_with_one_request() -> None:
    """While the account is refused, one request at a time asks whether it still is."""
    story = trusting()
    story.end_all([ACCOUNT, ACCOUNT])
    assert 1 == story.room
    assert FIRST_COOL_DOWN_SECONDS == story.pause


def test_each_refused_probe_waits_longer() -> None:
    """A daemon asks a refused account less and less often."""
    story = trusting()
    story.end_all([ACCOUNT, ACCOUNT])
    pauses = [story.pause]
    for _ in range(3):
        story.wait()
        story.now -= 1
        story.end(ACCOUNT)
        pauses.append(story.pause)
    assert [5, 10, 20, 40] == pauses


def test_an_accepted_probe_ends_the_stop() -> None:
    """When the account works again, everything goes on as before."""
    story = trusting()
    story.end_all([ACCOUNT, ACCOUNT])
    story.end(ACCEPTED)
    assert TRUSTED == story.breaker


def test_the_last_refusal_says_what_the_trouble_is() -> None:
    """A key that is refused where the address was wrong before stops as a refused key."""
    story = trusting()
    story.end_all([ADDRESS, ADDRESS, ACCOUNT])
    stop = story.breaker.stop
    assert stop
    assert StopReason.ACCOUNT == stop.reason


# Law 13: a crowd of doubts is the API's trouble.


@pytest.mark.parametrize("outcome", UNCLEAR, ids=repr)
def test_law_13_eight_unclear_endings_make_everybody_wait(outcome: Outcome) -> None:
    """Eight endings in a row without a yes or a no begin a cool-down, and seven do not."""
    story = trusting()
    story.end_all([outcome] * 7)
    assert (0, SLOTS) == (story.pause, story.room)
    story.end(outcome)
    assert (FIRST_COOL_DOWN_SECONDS, 1) == (story.pause, story.room)


@pytest.mark.parametrize("clear", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_law_13_a_clear_answer_begins_the_count_anew(clear: Outcome) -> None:
    """Unclear endings with a yes or a no among them are not in a row."""
    story = trusting()
    story.end_all([*[LOST] * 7, clear, *[LOST] * 7])
    assert (0, SLOTS) == (story.pause, story.room)


@pytest.mark.parametrize("unmade", UNMADE, ids=repr)
def test_law_13_what_made_no_request_is_not_counted(unmade: Outcome) -> None:
    """Rows that were never sent neither add to the crowd nor break it up."""
    story = trusting()
    story.end_all([*[LOST] * 7, *[unmade] * 5])
    assert 0 == story.pause
    story.end(LOST)
    assert story.pause > 0


def test_law_13_a_refused_account_can_complete_the_crowd() -> None:
    """Seven doubts and a refused account are eight endings without a yes or a no."""
    story = trusting()
    story.end_all([*[LOST] * 7, ACCOUNT])
    assert FIRST_COOL_DOWN_SECONDS == story.pause


def test_law_13_each_cool_down_is_longer() -> None:
    """Each failed probe doubles the wait, up to five minutes and no further."""
    story = trusting()
    story.end_all([LOST] * 8)
    pauses = [story.pause]
    for _ in range(9):
        story.now = story.breaker.cool_until - 1
        story.end(LOST)
        pauses.append(story.pause)
    assert [5, 10, 20, 40, 80, 160, *[LONGEST_COOL_DOWN_SECONDS] * 4] == pauses


def test_law_13_thousands_of_cool_downs_do_not_overflow() -> None:
    """An API that is away for weeks is waited for as on its second hour."""
    story = Story(Breaker(blanks=CROWD, cool_downs=100_000))
    story.end(LOST)
    assert LONGEST_COOL_DOWN_SECONDS == story.pause


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 5.0), (0.5, 5.625), (1.0, 6.25)])
def test_law_13_processes_do_not_come_back_as_one(dice: float, expected: float) -> None:
    """The cool-down is at most a quarter longer, by the dice, and never shorter."""
    story = Story(TRUSTED, dice=dice)
    story.end_all([LOST] * 8)
    assert expected == story.pause


def test_law_13_one_probe_at_a_time() -> None:
    """After the cool-down one request is sent, and no second one beside it."""
    story = trusting()
    story.end_all([LOST] * 8)
    story.wait()
    assert [1, 0] == [story.breaker.free_slots(in_flight, SLOTS) for in_flight in (0, 1)]


def test_law_13_endings_of_the_same_flight_add_nothing() -> None:
    """An attempt that ends during the cool-down was sent before it, and does not make it longer."""
    story = Story(TRUSTED)
    story.end_all([LOST] * 8)
    until = story.breaker.cool_until
    story.now -= 1
    story.end(LOST)
    story.end(LOST)
    assert (until, 1) == (story.breaker.cool_until, story.breaker.cool_downs)


@pytest.mark.parametrize("clear", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_law_13_a_clear_answer_ends_the_trouble(clear: Outcome) -> None:
    """The first yes or no opens all slots again, and the next trouble begins with a short wait."""
    story = trusting()
    for _ in range(4):
        story.end_all([LOST] * 8)
        story.wait()
    story.end(clear)
    assert SLOTS == story.room
    story.end_all([LOST] * 8)
    assert FIRST_COOL_DOWN_SECONDS == story.pause


def test_law_13_a_second_crowd_within_the_cool_down_is_not_trusted() -> None:
    """A refusal between two crowds of one flight does not open all slots after the cool-down."""
    story = trusting()
    outcomes: list[Outcome] = [*[LOST] * 8, REFUSED, *[LOST] * 8]
    for outcome in outcomes:
        story.end(outcome, began=99.0)
        story.now -= 1
    assert 1 == story.room


def test_law_13_try_later_is_unspent_meanwhile() -> None:
    """While the trouble is everybody's, being put off is charged to no row."""
    story = trusting()
    assert [LATER] * 7 == story.end_all([LATER] * 7)
    unspent = replace(LATER, spent=False)
    assert [unspent] * 3 == story.end_all([LATER] * 3)
    story.wait()
    assert unspent == story.end(LATER)
    story.end(ACCEPTED)
    assert LATER == story.end(LATER)


def test_try_later_is_unspent_while_the_run_is_stopped() -> None:
    """A probe that is put off while the account is refused is charged to no row."""
    story = trusting()
    story.end_all([ACCOUNT, ACCOUNT])
    assert replace(LATER, spent=False) == story.end(LATER)


@pytest.mark.parametrize("outcome", [u for u in UNCLEAR if u is not LATER], ids=repr)
def test_law_13_other_endings_are_settled_as_they_are(outcome: Outcome) -> None:
    """A doubt stays a doubt, however many there are."""
    story = trusting()
    assert [outcome] * 20 == story.end_all([outcome] * 20)


# Twenty equal refusals.


def refusals(story: Story, count: int) -> list[int]:
    """Tell so many equal refusals; the ids of their videos."""
    videos = [5_000 + story.video_id + number for number in range(count)]
    for video_id in videos:
        story.end(REFUSED, video_id=video_id)
    return videos


def test_twenty_equal_refusals_stop() -> None:
    """Twenty rows refused with one message stop the run, nineteen do not, and each is named."""
    story = trusting()
    videos = refusals(story, EQUAL_REFUSALS - 1)
    assert (None, SLOTS) == (story.breaker.stop, story.room)
    videos += refusals(story, 1)
    expected = Stop(reason=StopReason.EQUAL_REFUSALS, message="HTTP 400: no", videos=tuple(videos))
    assert expected == story.breaker.stop
    assert 20 == len(videos)
    assert (1, FIRST_COOL_DOWN_SECONDS) == (story.room, story.pause)


def test_a_refused_row_is_failed_all_the_same() -> None:
    """Each of the twenty is settled as refused: the stop names them for a person's retry."""
    story = trusting()
    assert [REFUSED] * 25 == story.end_all([REFUSED] * 25)


@pytest.mark.parametrize(
    "tell",
    [
        pytest.param(lambda n: (f"HTTP 400: line {n} of {n * 1000}", ()), id="digits"),
        pytest.param(
            lambda n: (f"HTTP 400: bad {'x' * n}.mp4", (f"{'x' * n}.mp4",)), id="own-value"
        ),
        pytest.param(
            lambda n: (f"HTTP 400: {'x' * n}.{'y' * n}", ("x" * n, f"{'x' * n}.{'y' * n}")),
            id="one-own-value-inside-another",
        ),
        pytest.param(
            lambda n: (f"HTTP 400: {'x' * n}: no", ("x" * n, "" if n % 2 else "y")),
            id="an-empty-own-value",
        ),
        pytest.param(
            lambda n: ("HTTP 400: Invalid value", ("value" if n % 2 else "Invalid",)),
            id="own-values-that-are-words-of-it",
        ),
        pytest.param(
            lambda n: (
                f"HTTP 400: Unsupported language: {'x' * n}",
                ("x" * n, "aegnu"[n % 5]),
            ),
            id="own-values-that-are-letters-of-it",
        ),
        pytest.param(lambda n: (f"HTTP 400: {'.*(' * n}", (".*(" * n,)), id="pattern-signs"),
        pytest.param(
            lambda n: (f"HTTP 400: no (request req_{n:x}f, {n}-01-2026T12:{n}:00Z)", ()),
            id="a-request-id-and-a-time",
        ),
        pytest.param(
            lambda n: (f"HTTP 400: no [trace={'abcdefxyz' * n}] for '{'x' * n}'", ()),
            id="a-trace-and-a-quoted-value",
        ),
    ],
)
def test_own_values_and_digits_make_no_difference(
    tell: Callable[[int], tuple[str, tuple[str, ...]]],
) -> None:
    """Messages that differ by what the row itself holds, or by numbers, are one message."""
    story = trusting()
    for number in range(1, EQUAL_REFUSALS + 1):
        message, own = tell(number)
        story.end(Refused(message, 400), own=own)
    assert story.breaker.stop


def test_somebody_elses_value_makes_a_difference() -> None:
    """Messages that differ in a value that is not the row's own are two."""
    story = trusting()
    for number in range(2 * EQUAL_REFUSALS):
        story.end(Refused(f"HTTP 400: bad {'x' * number}", 400), own=("y",))
    assert None is story.breaker.stop


@pytest.mark.parametrize(
    "between",
    [Refused("HTTP 400: something else", 400), ACCEPTED],
    ids=["another-refusal", "accepted"],
)
def test_another_answer_begins_the_row_anew(between: Outcome) -> None:
    """Twenty equal refusals with another answer among them are not in a row."""
    story = trusting()
    refusals(story, EQUAL_REFUSALS - 1)
    story.end(between)
    refusals(story, EQUAL_REFUSALS - 1)
    assert None is story.breaker.stop
    refusals(story, 1)
    assert story.breaker.stop


def test_an_unclear_ending_does_not_break_the_row() -> None:
    """A time-out among twenty equal refusals says nothing against them."""
    story = trusting()
    refusals(story, 10)
    story.end_all([LOST, *UNMADE, Throttled("slow down", 429)])
    refusals(story, 10)
    assert story.breaker.stop


def test_a_probe_with_the_same_refusal_stops_again() -> None:
    """While the message stays the same the run stays stopped, waits longer, and names one more."""
    story = trusting()
    videos = refusals(story, EQUAL_REFUSALS)
    story.wait()
    story.now -= 1
    videos += refusals(story, 1)
    stop = story.breaker.stop
    assert stop
    assert tuple(videos) == stop.videos
    assert (1, 10) == (story.room, story.pause)


@pytest.mark.parametrize(
    "probe", [Refused("HTTP 400: something else", 400), ACCEPTED], ids=["refused", "accepted"]
)
def test_a_probe_with_another_answer_goes_on(probe: Outcome) -> None:
    """An answer that is not the same refusal ends the stop."""
    story = trusting()
    refusals(story, EQUAL_REFUSALS)
    story.end(probe)
    assert (None, SLOTS) == (story.breaker.stop, story.room)


def test_one_refused_account_does_not_hide_which_rows_failed() -> None:
    """A stray refusal of the account leaves the stop of twenty rows, with their ids, in force."""
    story = trusting()
    videos = refusals(story, EQUAL_REFUSALS)
    story.end(ACCOUNT)
    stop = story.breaker.stop
    assert stop
    assert (StopReason.EQUAL_REFUSALS, tuple(videos)) == (stop.reason, stop.videos)
    story.end(ACCOUNT)
    assert Stop(reason=StopReason.ACCOUNT, message="HTTP 401: who?") == story.breaker.stop


def test_equal_refusals_under_suspicion_still_stop() -> None:
    """A suspicion about the account does not hide that every row is refused alike."""
    story = trusting()
    story.end(ACCOUNT)
    refusals(story, EQUAL_REFUSALS)
    stop = story.breaker.stop
    assert stop
    assert StopReason.EQUAL_REFUSALS == stop.reason


# Whatever happens.

ENDINGS = st.sampled_from([ACCEPTED, REFUSED, ACCOUNT, ADDRESS, *UNCLEAR, *UNMADE])
STEPS = st.lists(
    st.tuples(
        st.integers(0, SLOTS),  # how many requests to begin, if there is room
        st.integers(0, 3),  # how many to end
        ENDINGS,
        st.integers(0, SLOTS),  # which of those in flight ends first
        st.floats(0, 400),  # seconds that pass
        st.floats(0, 1),  # the dice
    ),
    max_size=60,
)


@dataclass
class Run:
    """A run that begins requests only where the breaker has room, as the runner does."""

    breaker: Breaker = field(default_factory=Breaker)
    now: float = 0.0
    begun: int = 0
    flight: list[tuple[int, float]] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Room for further requests now."""
        return self.breaker.free_slots(len(self.flight), SLOTS)

    def begin(self) -> None:
        """One more request in flight; six videos take turns."""
        self.begun += 1
        self.flight.append((self.begun % 6, self.now))

    def end(self, outcome: Outcome, place: int, dice: float) -> Outcome:
        """One request in flight ends."""
        video_id, started_at = self.flight.pop(place % len(self.flight))
        its = claim(video_id)
        self.breaker, settled = observe(self.breaker, its, outcome, started_at, self.now, dice)
        return settled


@given(STEPS)
def test_room_never_exceeds_slots_nor_trust(
    steps: list[tuple[int, int, Outcome, int, float, float]],
) -> None:
    """Never are more requests in flight than slots, and none is begun beside another untrusted."""
    run = Run()
    for begin, end, outcome, place, seconds, dice in steps:
        for _ in range(begin):
            if run.room > 0:
                assert run.breaker.trusted or not run.flight
                run.begin()
        assert len(run.flight) <= SLOTS
        run.now += seconds
        for _ in range(min(end, len(run.flight))):
            run.end(outcome, place, dice)
        assert run.room <= SLOTS - len(run.flight)
        assert run.breaker.trusted or run.room <= 1 - len(run.flight)
        assert not (run.breaker.cooling and run.breaker.trusted)


@given(STEPS, st.sampled_from([ACCEPTED, REFUSED, ACCOUNT, ADDRESS, *UNCLEAR]))
def test_an_accepted_request_always_restores_trust(
    steps: list[tuple[int, int, Outcome, int, float, float]], last: Outcome
) -> None:
    """No trouble outlives a success that began after everything else."""
    run = Run()
    for begin, end, outcome, place, seconds, dice in steps:
        for _ in range(begin):
            run.begin()
        run.now += seconds
        for _ in range(min(end, len(run.flight))):
            run.end(outcome, place, dice)
    run.begin()
    run.end(last, -1, 0.0)
    run.flight.clear()
    run.begin()
    assert ACCEPTED == run.end(ACCEPTED, 0, 0.0)
    cleared = run.breaker.cleared
    assert Breaker(trusted=True, cleared=cleared) == run.breaker
    assert SLOTS == run.room


@given(STEPS)
def test_a_crowd_always_makes_everybody_wait(
    steps: list[tuple[int, int, Outcome, int, float, float]],
) -> None:
    """Whatever came before, eight endings in a row without a yes or a no begin a cool-down."""
    run, blanks = Run(), 0
    for begin, end, outcome, place, seconds, dice in steps:
        for _ in range(begin):
            run.begin()
        run.now += seconds
        for _ in range(min(end, len(run.flight))):
            settled = run.end(outcome, place, dice)
            if isinstance(settled, Accepted | Refused):
                blanks = 0
            elif not isinstance(settled, Released | Invalid):
                blanks += 1
            if blanks >= CROWD and not isinstance(settled, Released | Invalid):
                assert run.breaker.cool_until > run.now
                assert not run.breaker.trusted


@given(STEPS)
def test_only_a_known_video_is_charged_for_the_account(
    steps: list[tuple[int, int, Outcome, int, float, float]],
) -> None:
    """A refused account becomes a video's own failure only after another video was accepted."""
    run, accepted, suspects = Run(), False, 0
    for begin, end, outcome, place, seconds, dice in steps:
        for _ in range(begin):
            run.begin()
        run.now += seconds
        for _ in range(min(end, len(run.flight))):
            settled = run.end(outcome, place, dice)
            if isinstance(settled, Refused) and not isinstance(outcome, Refused):
                assert accepted
                assert suspects > 0
            accepted = accepted or isinstance(settled, Accepted)
            suspects += isinstance(settled, AccountRefused | WrongAddress)

"""Take out, one at a time, the parts that hold the shared pace, the cool-down and the brake."""

from tests.proof.mutations import Mutation

PACING = "worker/runner/pacer.py"
PACE_FILE = "worker/core/pace.py"
ACCOUNT = "worker/store/shared_state.py"
LEVEL = "tests/proof/test_level.py::test_the_loop_finds_the_level"
SET_CLOCK = "tests/proof/test_pace.py::test_a_clock_that_is_set_by_an_hour_changes_no_pace"

PACE = (
    Mutation(
        law="10: what one is told holds all",
        file=ACCOUNT,
        old="cool_down_until=case((later, until), else_=known)",
        new="cool_down_until=known",
        tests=("tests/proof/test_pace.py::test_what_one_is_told_holds_all",),
    ),
    Mutation(
        law="10: a cool-down outlives a clock that stepped back by its length, and no longer",
        file=PACE_FILE,
        old="        return now - written_at",
        new="        return timedelta(0)",
        tests=("tests/runner/test_transaction.py::test_a_step_back_leaves_a_cool_down_its_length",),
        quick=True,
    ),
    Mutation(
        law="10: a step back does not end a cool-down",
        file=PACE_FILE,
        old="        return now - written_at",
        new="        return (now - written_at) * 2",
        tests=(
            "tests/core/test_pace.py::test_a_step_back_never_shortens_a_cool_down",
            "tests/runner/test_transaction.py::test_a_step_back_leaves_a_cool_down_its_length",
        ),
    ),
    Mutation(
        law="10: a step forward makes nothing early",
        file=PACE_FILE,
        old="return step if step > LEAD and written_at <= now - step else timedelta(0)",
        new="return timedelta(0)",
        tests=("tests/runner/test_transaction.py::test_a_step_forward_is_followed_once", SET_CLOCK),
    ),
    Mutation(
        law="10: a step forward is followed by one process for all",
        file=PACE_FILE,
        old="step > LEAD and written_at <= now - step",
        new="step > LEAD",
        tests=("tests/runner/test_transaction.py::test_a_step_forward_is_followed_once",),
    ),
    Mutation(
        law="10: a step that was rolled back is followed again",
        file=PACING,
        old="self.steps.follow(now, began)",
        new="self.steps.note(now, began)",
        tests=(
            "tests/runner/test_transaction.py::test_a_step_that_was_rolled_back_is_followed_again",
        ),
    ),
    Mutation(
        law="10: a step that was followed is not followed by each later look",
        file=PACING,
        old="            self.steps.see(known.written_at)\n",
        new="",
        tests=("tests/runner/test_transaction.py::test_a_step_is_followed_once_by_rare_looks",),
    ),
    Mutation(
        law="10: a start further ahead than any reservation is brought back",
        file=PACE_FILE,
        old="if next_start > now + max(LEAD, gap) + STEP:",
        new="if next_start is None:",
        tests=("tests/runner/test_transaction.py::test_a_clock_that_stepped_back_is_repaired",),
    ),
    Mutation(
        law="the level: one cut for each flight",
        file=PACE_FILE,
        old="if brake is not None and started_at <= brake.cut_at:",
        new="if brake is not None and started_at is None:",
        tests=(
            "tests/core/test_pace.py::test_a_whole_flight_is_one_cut",
            "tests/runner/test_transaction.py::test_one_flight_lowers_the_pace_once",
        ),
    ),
    Mutation(
        law="the level: the pace climbs back",
        file=PACE_FILE,
        old="return min(rate, brake.ceiling * math.exp2(doublings))",
        new="return min(rate, brake.ceiling)",
        tests=("tests/core/test_pace.py::test_the_rate_climbs_back", LEVEL),
    ),
    Mutation(
        law="the level: a 429 slows everybody down",
        file=PACING,
        old="pace.cut(self.settings.rate, known, began, hold)",
        new="known",
        tests=("tests/runner/test_transaction.py::test_one_flight_lowers_the_pace_once",),
    ),
    Mutation(
        law="the level: a cut is mild after a calm time",
        file=PACE_FILE,
        old="if calm else (0.7 * before, 0.85 * before)",
        new="if calm is None else (0.7 * before, 0.7 * before)",
        tests=("tests/core/test_pace.py::test_a_cut_after_a_calm_time_is_mild", LEVEL),
    ),
    Mutation(
        law="the level: time without starts is no evidence",
        file=PACE_FILE,
        old="if idle > timedelta(seconds=1) else brake",
        new="if idle is None else brake",
        tests=(
            "tests/core/test_pace.py::test_idle_time_does_not_count",
            "tests/runner/test_transaction.py::test_the_climb_waits_while_nothing_is_sent",
        ),
    ),
)

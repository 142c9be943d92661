"""The brake of hosts and the cap of jobs, taken out one rule at a time."""

from tests.proof.mutations import QUEUE, TURN, Mutation

HOSTS = "worker/store/hosts.py"
BRAKE = "tests/runner/test_host_brake.py"

HELD = (
    Mutation(
        law="7: a held host's videos are postponed in the claim",
        file=TURN,
        old="        if at.shared.held_hosts:\n            return hosts.passing",
        new="        if False:\n            return hosts.passing",
        tests=(f"{BRAKE}::test_rows_of_a_held_host_are_postponed_and_others_go",),
        quick=True,
    ),
    Mutation(
        law="7: what one transaction postpones is bounded",
        file=HOSTS,
        old="        held = held[: most - postponed]\n",
        new="",
        tests=(f"{BRAKE}::test_the_number_postponed_at_once_is_bounded",),
    ),
    Mutation(
        law="7: a claim goes on at once after it postponed",
        file=TURN,
        old="if closed or postponed:",
        new="if closed:",
        tests=(f"{BRAKE}::test_the_number_postponed_at_once_is_bounded",),
    ),
    Mutation(
        law="brake: one probe a period",
        file=TURN,
        old="[c for c in sent if c.video_id in probes]",
        new="[]",
        tests=(
            f"{BRAKE}::test_one_probe_goes_in_each_period",
            f"{BRAKE}::test_six_processes_send_one_probe",
        ),
    ),
    Mutation(
        law="brake: a row that is refused is no probe",
        file=TURN,
        old=" and not probes:",
        new=":",
        tests=(f"{BRAKE}::test_a_row_that_cannot_be_sent_is_no_probe",),
    ),
    Mutation(
        law="brake: a probe is due as soon as it is freed",
        file=HOSTS,
        old="values(held_host=None, due_at=_now, error=None)",
        new="values(held_host=None, error=None)",
        tests=(
            f"{BRAKE}::test_a_probe_that_is_given_back_is_held_again",
            f"{BRAKE}::test_a_probe_that_ends_well_lets_all_go",
        ),
    ),
    Mutation(
        law="brake: a wrong mark makes no probe",
        file=HOSTS,
        old=" for row in rows if host_of(row[queue.URL]) == host}",
        new=" for row in rows}",
        tests=(f"{BRAKE}::test_a_wrong_mark_makes_no_probe",),
    ),
    Mutation(
        law="brake: a host without videos keeps no other from its probe",
        file=HOSTS,
        old="where(_is_held, is_due, _has_videos)",
        new="where(_is_held, is_due)",
        tests=(f"{BRAKE}::test_a_host_without_videos_is_probed_with_the_next",),
    ),
    Mutation(
        law="brake: a claim clears an old mark",
        file=QUEUE,
        old="            held_host=null(),\n",
        new="",
        tests=(f"{BRAKE}::test_a_claim_clears_an_old_mark",),
    ),
    Mutation(
        law="brake: held videos are waited for as such",
        file=QUEUE,
        old="_soonest(*others, *unheld)",
        new="_soonest(*others)",
        tests=(f"{BRAKE}::test_the_next_probe_is_waited_for",),
    ),
    Mutation(
        law="brake: evidence of before a release is spent",
        file=HOSTS,
        old="(jobs.c.ended_at > judged_from,)",
        new="()",
        tests=(
            "tests/store/test_hosts.py::test_a_release_makes_the_videos_due_and_forgets_the_evidence",
        ),
    ),
    Mutation(
        law="brake: what a release has left is freed by the next end",
        file=HOSTS,
        old="        if judged_from is not None:\n",
        new="        if False:\n",
        tests=("tests/store/test_hosts.py::test_what_a_release_has_left_is_freed_by_the_next_end",),
    ),
    Mutation(
        law="brake: a release frees a bounded number at once",
        file=HOSTS,
        old=".limit(FREED_AT_ONCE)",
        new="",
        tests=("tests/store/test_hosts.py::test_a_release_frees_some_at_a_time",),
    ),
    Mutation(
        law="brake: a job from before the hold is no probe",
        file=HOSTS,
        old="jobs.c.accepted_at >= held_since + FIRST_WAIT",
        new="jobs.c.accepted_at.is_not(None)",
        tests=("tests/store/test_hosts.py::test_a_probe_that_ended_well_releases",),
    ),
    Mutation(
        law="18: held videos need a person",
        file="worker/core/verdict.py",
        old="    if facts.hosts:\n",
        new="    if False:\n",
        tests=("tests/core/test_verdict.py::test_what_needs_a_person_is_said",),
    ),
    Mutation(
        law="18: jobs that no worker follows are no calm wait",
        file="worker/core/verdict.py",
        old="held.reason is WaitReason.JOBS and not facts.alive",
        new="False",
        tests=("tests/core/test_verdict.py::test_a_queue_is_judged",),
    ),
    Mutation(
        law="caps: jobs that have not ended use the room of max_in_progress",
        file="worker/store/caps.py",
        old="settled = count_of(going).scalar_subquery() + doubted",
        new="settled = doubted",
        tests=("tests/runner/test_transaction.py::test_jobs_that_have_not_ended_fill_their_cap",),
    ),
    Mutation(
        law="caps: doubts that may have made a job use the room of max_in_progress",
        file="worker/store/caps.py",
        old="settled = count_of(going).scalar_subquery() + doubted",
        new="settled = count_of(going).scalar_subquery()",
        tests=("tests/runner/test_transaction.py::test_jobs_that_have_not_ended_fill_their_cap",),
    ),
    Mutation(
        law="caps: doubts that fill max_in_progress are no jobs that end",
        file="worker/runner/transaction.py",
        old="WaitReason.JOBS if level.jobs_end else",
        new="WaitReason.JOBS if level.cap.of_jobs else",
        tests=("tests/runner/test_transaction.py::test_doubts_alone_fill_the_cap_of_jobs",),
    ),
)

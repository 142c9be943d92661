"""Questions about jobs, a rule taken out at a time: which is asked, when, and what it brings."""

from tests.proof.mutations import Mutation

FOLLOWING = "worker/core/following.py"
FOLLOWER = "worker/runner/follower.py"
CORE = "tests/core/test_following.py"
RUN = "tests/runner/test_follower.py"

QUESTIONS = (
    Mutation(
        law="questions: the list comes first where it answers for several jobs",
        file=FOLLOWING,
        old="return None if len(due) > 1 or unproven else due[0]",
        new="return due[0]",
        tests=(
            f"{CORE}::test_the_list_comes_first_where_it_answers_for_several",
            f"{RUN}::test_one_list_answers_for_all",
        ),
    ),
    Mutation(
        law="questions: the error of a list is asked about once more",
        file=FOLLOWING,
        old='    elif said.status == "error" and (',
        new='    elif said.status == "" and (',
        tests=(
            f"{CORE}::test_an_error_of_a_list_is_asked_about_once_more",
            f"{RUN}::test_the_error_of_a_list_is_asked_about_for_its_details",
        ),
    ),
    Mutation(
        law="questions: an error whose question failed waits for the list, and stops no other",
        file=FOLLOWING,
        old="if listed_at is not None and (due_at is None or due_at <= listed_at):",
        new="if listed_at is not None:",
        tests=(
            f"{CORE}::test_an_error_without_details_waits_for_the_next_list",
            f"{CORE}::test_a_look_that_is_put_off_lies_ahead",
        ),
    ),
    Mutation(
        law="questions: a hint is taken within 5 s and 15 min",
        file=FOLLOWING,
        old="seconds = min(LONGEST_HINT, max(SHORTEST_HINT, hint))",
        new="seconds = hint",
        tests=(f"{CORE}::test_the_hint_of_each_answer_is_taken_within_bounds",),
    ),
    Mutation(
        law="questions: no job is expected before the median",
        file=FOLLOWING,
        old="max(seconds, min(LONGEST_HINT, known.job_seconds - age))",
        new="seconds",
        tests=(f"{CORE}::test_no_job_is_expected_before_the_median",),
    ),
    Mutation(
        law="questions: what is overdue is asked about hourly",
        file=FOLLOWING,
        old="if job.overdue_since is None else _overdue_wait(age)",
        new="if job.overdue_since is None else seconds",
        tests=(
            f"{CORE}::test_what_stays_too_long_needs_a_person_and_is_asked_about_hourly",
            f"{RUN}::test_what_lasts_too_long_needs_a_person_and_is_asked_about_hourly",
        ),
    ),
    Mutation(
        law="questions: one that is throttled holds everybody",
        file=FOLLOWER,
        old="        if isinstance(said, NoStatus) and said.retry_after is not None:\n",
        new="        if False:\n",
        tests=(f"{RUN}::test_a_question_that_is_throttled_holds_everybody",),
    ),
    Mutation(
        law="questions: a list that is throttled holds everybody",
        file="worker/runner/reconciler.py",
        old="        if isinstance(shown, Unlisted) and shown.retry_after is not None:\n",
        new="        if False:\n",
        tests=(f"{RUN}::test_a_failing_list_leaves_the_jobs_to_be_asked_about",),
    ),
    Mutation(
        law="questions: none where the queue is no more",
        file="worker/runner/pacer.py",
        old="if known.moved_to is not None:",
        new="if False:",
        tests=(f"{RUN}::test_a_queue_that_has_moved_is_followed_elsewhere",),
    ),
    Mutation(
        law="questions: one worker asks about a job at a time",
        file=FOLLOWER,
        old="            jobs.postpone(connection, chosen, now + patience)\n",
        new="            pass\n",
        tests=(f"{RUN}::test_two_workers_do_not_ask_about_one_job_at_once",),
    ),
    Mutation(
        law="questions: a list that is read for doubts serves the jobs",
        file="worker/runner/reconciler.py",
        old="                        await learn(done.shown, done.asked_at)\n",
        new="                        pass\n",
        tests=(f"{RUN}::test_a_list_read_for_doubts_serves_the_jobs",),
    ),
    Mutation(
        law="questions: a drain asks one at its end",
        file="worker/runner/loop.py",
        old="                    await self._follower.ask_last(self._stopping)\n",
        new="                    pass\n",
        tests=("tests/runner/test_following_run.py::test_a_drain_asks_one_question_at_its_end",),
    ),
    Mutation(
        law="ends: the host of a failed download is judged with its end",
        file="worker/store/jobs.py",
        old="        hosts.judge(connection, name, now)\n",
        new="        pass\n",
        tests=(f"{RUN}::test_three_failed_downloads_hold_their_host",),
    ),
    Mutation(
        law="ends: only a change of the status is a fact",
        file=FOLLOWING,
        old="is_new = after.status not in {None, before.status, *ENDS}",
        new="is_new = after.status is not None",
        tests=("tests/store/test_jobs.py::test_only_a_change_of_status_goes_to_the_history",),
    ),
)

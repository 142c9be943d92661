"""Law 15 and the budget of questions, taken out one at a time."""

from tests.proof.mutations import Mutation

FOLLOWING = "worker/core/following.py"
FOLLOWER = "worker/runner/follower.py"
CLASSIFY = "worker/core/classify.py"
CORE = "tests/core/test_following.py"
RUN = "tests/runner/test_follower.py"
SAYS_NOTHING = f"{RUN}::test_a_failed_question_says_nothing_about_the_job"
A_PART = f"{RUN}::test_a_list_that_may_be_a_part_proves_no_job_gone"
PROVED = f"{CORE}::test_gone_is_what_a_list_proves"

FOLLOWED = (
    Mutation(
        law="15: only a documented status is an end",
        file=FOLLOWING,
        old="    if said.status in ENDS:",
        new="    if said.status.strip().lower() in (*ENDS, 'done', 'failed'):",
        tests=(f"{CORE}::test_any_other_status_is_shown_and_followed_on",),
        quick=True,
    ),
    Mutation(
        law="15: a failed question says nothing about a job",
        file=FOLLOWING,
        old="    if isinstance(said, NoStatus) and not said.missing:",
        new="    if isinstance(said, NoStatus) and said.missing:",
        tests=(f"{CORE}::test_no_answer_says_nothing_about_a_job",),
    ),
    Mutation(
        law="15: an answer about another job says nothing",
        file=CLASSIFY,
        old=' and texts.get("job_id", job_id) == job_id:',
        new=":",
        tests=(SAYS_NOTHING,),
    ),
    Mutation(
        law="15: a page's 404 does not say that a job is unknown",
        file=CLASSIFY,
        old="status == HTTPStatus.NOT_FOUND and _documented_errors(body) is not None",
        new="status == HTTPStatus.NOT_FOUND",
        tests=(SAYS_NOTHING,),
    ),
    Mutation(
        law="15: gone only after an hour",
        file=FOLLOWING,
        old="last >= first + GONE_AFTER",
        new="last >= first",
        tests=(PROVED,),
    ),
    Mutation(
        law="15: gone only where the list shows jobs from before and after",
        file=FOLLOWING,
        old="was_missing and around[0] < job.accepted_at < around[1]",
        new="was_missing",
        tests=(PROVED,),
    ),
    Mutation(
        law="15: gone only by a list that is not paged",
        file=FOLLOWER,
        old="around and shown.paged is None and",
        new="around and",
        tests=(A_PART,),
    ),
    Mutation(
        law="15: gone only where the list does not show it",
        file=FOLLOWER,
        old="[job for job in missing if job.job_id not in listed]",
        new="list(missing)",
        tests=(A_PART,),
    ),
    Mutation(
        law="15: no end is taken back",
        file="worker/store/jobs.py",
        old=".where(jobs.c.job_id == _said.c.job_id, is_open)",
        new=".where(jobs.c.job_id == _said.c.job_id)",
        tests=("tests/store/test_jobs.py::test_no_end_is_taken_back",),
    ),
    Mutation(
        law="15: a job without answers needs a person as well",
        file=FOLLOWING,
        old="return replace(asked, overdue_since=late, next_poll_at",
        new="return replace(asked, next_poll_at",
        tests=(f"{RUN}::test_a_job_without_answers_is_overdue_too",),
    ),
    Mutation(
        law="15: an error ended when a list has shown it",
        file=FOLLOWING,
        old="ended_at=since, ended_as=said.status",
        new="ended_at=now, ended_as=said.status",
        tests=(f"{RUN}::test_some_failures_among_many_hold_no_host",),
    ),
    Mutation(
        law="15: what a list has left due is asked about, however rare questions are",
        file=FOLLOWING,
        old="patience = timedelta.max if is_turn else wait * (LISTS_LEFT_OUT if is_shown else 1)",
        new="patience = wait",
        tests=(
            f"{CORE}::test_a_list_is_never_asked_for_twice_in_a_row",
            f"{CORE}::test_what_is_due_before_all_comes_before_the_list",
            f"{RUN}::test_errors_of_a_list_end_where_questions_are_rare",
            f"{RUN}::test_errors_of_a_list_end_though_lists_are_slow",
        ),
    ),
    Mutation(
        law="15: errors starve no list",
        file=FOLLOWING,
        old="timedelta.max if is_turn else wait * (LISTS_LEFT_OUT if is_shown else 1)",
        new="timedelta.max",
        tests=(f"{CORE}::test_what_is_due_before_all_comes_before_the_list",),
    ),
    Mutation(
        law="questions: a drain asks for the details of errors",
        file=FOLLOWER,
        old='return any(job.status == "error" for job in due)',
        new="return not due",
        tests=(
            "tests/runner/test_following_run.py::test_a_drain_asks_on_for_the_details_of_errors",
        ),
    ),
    Mutation(
        law="questions: overdue jobs come last",
        file="worker/store/jobs.py",
        old="    return _jobs(in_time or _BACKLOG(connection, most=most)) or found\n",
        new="    return found or _jobs(_BACKLOG(connection, most=most))\n",
        tests=("tests/store/test_jobs.py::test_overdue_jobs_come_last",),
    ),
    Mutation(
        law="questions: a call that comes during a look is not lost",
        file="worker/web/callbacks.py",
        old="        while self._came:\n",
        new="        for _ in range(1):\n",
        tests=("tests/web/test_callbacks.py::test_a_call_during_a_look_is_looked_at_next",),
    ),
    Mutation(
        law="ends: jobs of an upgrade hold no host",
        file="worker/store/hosts.py",
        old=", jobs.c.next_poll_at.is_not(None))",
        new=",)",
        tests=(f"{RUN}::test_an_upgrade_holds_no_host",),
    ),
    Mutation(
        law="questions: a fifth of the rate",
        file="worker/runner/pacer.py",
        old="5 * self._gap(known, now)",
        new="self._gap(known, now)",
        tests=(f"{RUN}::test_questions_keep_to_their_budget",),
    ),
    Mutation(
        law="questions: a cool-down holds them",
        file="worker/runner/pacer.py",
        old="if known.cooling(now) or now < free_at <= later:",
        new="if now < free_at <= now:",
        tests=(f"{RUN}::test_a_cool_down_holds_questions_and_a_pause_does_not",),
    ),
    Mutation(
        law="found: no earlier job of the video itself",
        file="worker/core/evidence.py",
        old="if entry.job_id not in doubt.earlier]",
        new="]",
        tests=(
            "tests/core/test_evidence.py::test_an_earlier_job_of_the_video_is_not_the_one_in_doubt",
        ),
    ),
)

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
        old="asked_at >= job.missing_since + GONE_AFTER",
        new="asked_at >= job.missing_since",
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

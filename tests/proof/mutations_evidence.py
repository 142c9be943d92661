"""The conditions of "found" and of "proven absent", taken out one at a time."""

from tests.proof.mutations import Mutation

EVIDENCE = "worker/core/evidence.py"
DOUBTS = "worker/store/doubts.py"
NO_PROOF = "tests/core/test_evidence.py::test_one_condition_less_is_no_proof"
PERHAPS = "tests/core/test_evidence.py::test_a_job_that_only_may_be_ours_is_for_a_person"
NEIGHBOURS = "tests/core/test_evidence.py::test_every_acceptance_around_it_must_be_shown"

FOUND = (
    Mutation(
        law="found: by exactly one entry",
        file=EVIDENCE,
        old="if len(free) == 1 and free[0]",
        new="if free and free[0]",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: that no video holds",
        file=EVIDENCE,
        old="free = [entry for entry in named if entry.job_id not in evidence.held]",
        new="free = list(named)",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: under an identifier that no other video has",
        file=EVIDENCE,
        old="alone = doubt.unique and entry",
        new="alone = entry",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: an entry with this identifier alone",
        file=EVIDENCE,
        old=" and entry.identifiers == {doubt.request_id}",
        new="",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: made by us, or with the same address",
        file=EVIDENCE,
        old="return alone and (doubt.made or doubt.url in entry.urls)",
        new="return alone",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: a media id is no identifier of ours",
        file=EVIDENCE,
        old="return not media_id and bool(_MADE.fullmatch(request_id))",
        new="return bool(_MADE.fullmatch(request_id))",
        tests=(PERHAPS,),
    ),
    Mutation(
        law="found: the table knows whose identifier it is",
        file=DOUBTS,
        old="named = identified(lambda its: its == request_id)",
        new="named = videos.c.media_id == request_id",
        tests=(
            "tests/store/test_doubts.py::test_an_identifier_that_another_video_has_is_not_unique",
        ),
    ),
)

ABSENT = (
    Mutation(
        law="absent: the settle time has passed",
        file=EVIDENCE,
        old="if evidence.asked_at < counts_from:",
        new="if evidence.asked_at < doubt.recorded_at:",
        tests=("tests/core/test_evidence.py::test_a_young_doubt_is_not_absent",),
    ),
    Mutation(
        law="absent: the attempt was over before the question",
        file=DOUBTS,
        old="        if doubt.recorded_at <= recorded_before\n",
        new="",
        tests=(
            "tests/store/test_doubts.py::test_only_what_was_over_before_the_question_is_judged",
        ),
    ),
    Mutation(
        law="absent: no sign of paging",
        file=EVIDENCE,
        old="if evidence.paged is not None:",
        new="if evidence.paged == ():",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: a full page is a sign of paging",
        file="worker/core/job_list.py",
        old="if _is_full_page(shown):",
        new="if shown < 0:",
        tests=("tests/core/test_job_list.py::test_a_full_page_is_perhaps_a_part",),
    ),
    Mutation(
        law="absent: the identifier is unique",
        file=EVIDENCE,
        old="if not doubt.unique:",
        new="if False:",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: the identifier comes back as it was sent",
        file=EVIDENCE,
        old="if not (doubt.made or _PLAIN.fullmatch(doubt.request_id)):",
        new="if False:",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: something was accepted before",
        file=EVIDENCE,
        old="if not doubt.before:",
        new="if False:",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: something that began later was accepted",
        file=EVIDENCE,
        old="if not doubt.after:",
        new="if False:",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: every entry can be told",
        file=EVIDENCE,
        old="if evidence.nameless:",
        new="if evidence.nameless == ():",
        tests=(NO_PROOF,),
    ),
    Mutation(
        law="absent: the list shows everything accepted around it",
        file=EVIDENCE,
        old="if hidden is not None:",
        new="if hidden == ():",
        tests=(NEIGHBOURS,),
        quick=True,
    ),
    Mutation(
        law="absent: under the identifiers that we sent",
        file=EVIDENCE,
        old="return entry is not None and neighbour.request_id in entry.identifiers",
        new="return entry is not None",
        tests=(NEIGHBOURS,),
    ),
    Mutation(
        law="absent: before means before it began",
        file=DOUBTS,
        old=".where(IS_ACCEPTANCE, history.c.at.between(EPOCH, doubt.began_at))",
        new=".where(IS_ACCEPTANCE)",
        tests=(
            "tests/store/test_doubts.py::test_what_was_under_way_at_its_beginning_is_not_before_it",
        ),
    ),
    Mutation(
        law="absent: after means begun after its end",
        file=DOUBTS,
        old=".where(history.c.started_at.between(doubt.recorded_at, history.c.at))",
        new=".where(history.c.started_at <= history.c.at)",
        tests=("tests/store/test_doubts.py::test_what_began_before_its_end_is_not_after_it",),
    ),
    Mutation(
        law="absent: a clock that stepped back orders nothing",
        file=DOUBTS,
        old='.where(history.c.id < min(fact["id"] for fact in facts))',
        new=".where(history.c.id > 0)",
        tests=(
            "tests/store/test_doubts.py::test_a_clock_that_stepped_back_does_not_order_the_neighbours",
        ),
    ),
)

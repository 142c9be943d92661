"""A model of the whole: workers, an API, people and clocks in any order, and the laws after each
step. `PROOF=full` tries much more, and shortens the story of a broken law.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.proof.databases import Databases
from tests.proof.ground import FULL, times
from tests.proof.model import COURSE, SETTLE_SECONDS, WHOLE, Shown
from tests.proof.model_jobs import WORDS
from tests.proof.model_life import Life

LISTS = st.one_of(
    st.just(WHOLE),
    st.builds(
        Shown,
        late=st.sampled_from([0, 0, 0, 30, 150, 400, 8_000]),
        first=st.sampled_from([0, 0, 0, 1, 2, 5]),
        last=st.sampled_from([0, 0, 0, 1, 2, 5]),
        staggered=st.booleans(),
        identified=st.sampled_from(["all", "all", "all", "finished", "none"]),
        addressed=st.booleans(),
        order=st.integers(0, 3),
        sign=st.sampled_from([None, None, None, "next"]),
        failure=st.sampled_from([False, False, False, True]),
        statuses=st.sampled_from([True, True, False]),
    ),
)
PICK, YES_OR_NO, WORKER = st.integers(0, 99), st.booleans(), st.integers(0, 2)


LIVES = {"sqlite": times(15, 2_000), "postgresql": times(6, 1_000)}
"""Number of lives tried; one takes twice as long on a server."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens."""

    action: Callable[..., None]
    how: Mapping[str, object]

    def __repr__(self) -> str:
        return f"{self.action.__name__}({', '.join(f'{k}={v!r}' for k, v in self.how.items())})"


def step(action: Callable[..., None], **how: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    """Return every way in which it can happen."""
    return st.builds(Step, st.just(action), st.fixed_dictionaries(how))


INSERT = step(
    Life.insert,
    count=st.integers(1, 3),
    # Two names come in more than one video, and in another program's jobs.
    name=st.sampled_from([None, None, None, None, "m1", "m2", "größe 1"]),
    again=st.sampled_from([False, False, True]),
)
SERVE = step(Life.serve, worker=WORKER, room=st.integers(1, 3))
ATTEMPT = step(Life.attempt, worker=WORKER, answer=PICK, made=YES_OR_NO, lonely=YES_OR_NO)
MOVE = step(Life.move, pick=PICK, answer=st.none() | PICK, arrives=YES_OR_NO, spent=YES_OR_NO)
RECONCILE = step(Life.reconcile, shown=LISTS, settled=YES_OR_NO)

BECOME = step(Life.become, pick=PICK, status=st.sampled_from(COURSE))
WORD = st.sampled_from(WORDS)

STEPS = st.one_of(
    *(INSERT, SERVE, ATTEMPT, ATTEMPT, ATTEMPT, MOVE, MOVE, MOVE, RECONCILE, RECONCILE),
    step(Life.work, worker=WORKER, room=st.integers(0, 3)),
    step(Life.send, pick=PICK),
    step(Life.die, worker=WORKER, room=st.sampled_from([None, 0, 2])),
    step(Life.wait, seconds=st.sampled_from([1, 20, 70, 200, SETTLE_SECONDS + 10, 4_000])),
    step(Life.jump, hours=st.sampled_from([-1, 1])),
    step(Life.ask, shown=LISTS),
    step(Life.judge, pick=PICK),
    step(Life.retry, pick=PICK, may=YES_OR_NO),
    step(Life.cancel, pick=PICK),
    step(Life.resolve, pick=PICK, how=st.sampled_from(["gives up", "looks", "errs"])),
    BECOME,
    BECOME,
    step(Life.question, worker=WORKER, word=WORD, shown=LISTS),
    step(Life.question, worker=WORKER, word=WORD, shown=LISTS),
    step(Life.follow, worker=WORKER, word=WORD, shown=LISTS),
    step(Life.darken),
    step(Life.darken),
    step(Life.release),
    step(Life.buy_elsewhere, name=st.sampled_from(["m1", "m2", "other", None])),
)
"""All of it, what is rare in life as often as the rest; one choice, so that every kind can meet
every other.
"""


class Machine(RuleBasedStateMachine):
    """Steps in any order, and the laws after each."""

    databases: Databases

    @initialize()
    def begin(self) -> None:
        """Make a new queue with a few videos."""
        self.address = self.databases.new("life")
        self.life = Life(self.address)
        self.life.insert(5, None, again=False)

    @rule(step=STEPS)
    def happens(self, step: Step) -> None:
        """Take one step."""
        step.action(self.life, **step.how)

    @invariant()
    def the_laws_hold(self) -> None:
        """By the API's book and the table's rows."""
        self.life.hold()

    def teardown(self) -> None:
        """Drain the queue and check that nothing is lost."""
        try:
            self.life.come_to_rest()
        finally:
            self.life.world.close()
            self.databases.drop(self.address)


@pytest.mark.timeout(3_600)
def test_the_laws_hold_whatever_happens(databases: Databases) -> None:
    """In any order of crashes, late answers, lists, commands and clocks, every law holds, and the
    verdict is never a calm one over a standstill (law 18).
    """
    run_state_machine_as_test(
        type("Machine", (Machine,), {"databases": databases}),
        settings=settings(
            max_examples=LIVES[databases.kind],
            stateful_step_count=50,
            phases=tuple(Phase) if FULL else (Phase.generate,),
            derandomize=not FULL,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

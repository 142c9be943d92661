import re

import pytest

from worker.simulator import KINDS, Options, answers, faults, parse_failure


def test_a_failure_is_read_from_text() -> None:
    """KIND=SHARE is what it says, numbers as kinds included."""
    assert ("lost", 0.05) == parse_failure("lost=0.05")
    assert ("429", 1.0) == parse_failure("429=1")
    assert ("proxy-502", 0.0) == parse_failure("proxy-502=0")


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("lost", "write for example lost=0.05"),
        ("lost=", "write for example lost=0.05"),
        ("lost=often", "write for example lost=0.05"),
        ("lots=0.5", "did you mean 'lost'"),
        ("xyzzyx=0.5", "take one of: STATUS, "),
        ("STATUS=0.5", "take one of"),
        ("600=0.5", "take one of"),
        ("lost=5", "0.05 means one in twenty"),
        ("lost=nan", "outside 0 to 1"),
    ],
)
def test_a_wrong_failure_is_named_with_the_way_out(text: str, way_out: str) -> None:
    """A mistyped failure is an error that names it and the right form."""
    with pytest.raises(ValueError, match=re.escape(way_out)) as raised:
        parse_failure(text)
    assert text in str(raised.value)


def test_every_kind_in_the_help_can_be_ordered() -> None:
    """A name in KINDS, with a number for STATUS, is taken, and has its meaning in one line."""
    for name, meaning in KINDS.items():
        faults.check_kind(name.replace("STATUS", "503"))
        assert meaning
        assert "\n" not in meaning


def test_every_kind_has_an_answer() -> None:
    """No kind is known to the dice and unknown to the wire."""
    for kind in faults.BOUGHT:
        assert answers.bought(kind, "j") is not None
    for kind in faults.TURNED_AWAY:
        assert answers.turned_away(kind.replace("STATUS", "503"), "k") is not None


@pytest.mark.parametrize(
    ("kind", "status"),
    [("100", 100), ("proxy-599", 599), ("retry-after-503", 503), ("lost", None), ("99", None)],
)
def test_the_status_stands_in_the_kind(kind: str, status: int | None) -> None:
    """A status kind answers the status that it is named after."""
    assert status == faults.status_of(kind)


def test_the_script_wins_over_the_dice() -> None:
    """A scripted request meets its kind although the dice would give another."""
    script = {2: "half"}
    kinds = [faults.kind_of(n, script=script, failures={"lost": 1.0}, seed=0) for n in (1, 2, 3)]
    assert ["lost", "half", "lost"] == kinds


def test_the_same_seed_gives_the_same_kinds() -> None:
    """A run can be repeated from its seed, in whatever order the requests are looked at."""

    def kinds(seed: int, numbers: list[int]) -> dict[int, str | None]:
        failures = {"lost": 0.3, "429": 0.3}
        return {n: faults.kind_of(n, script={}, failures=failures, seed=seed) for n in numbers}

    forward = list(range(1, 200))
    assert kinds(7, forward) == kinds(7, forward[::-1])
    assert kinds(7, forward) != kinds(8, forward)


def test_shares_are_met() -> None:
    """Of many requests, each kind gets its share, and the rest meet no trouble."""
    failures = {"lost": 0.2, "429": 0.1}
    kinds = [faults.kind_of(n, script={}, failures=failures, seed=1) for n in range(10_000)]
    assert 0.2 == pytest.approx(kinds.count("lost") / 10_000, abs=0.02)
    assert 0.1 == pytest.approx(kinds.count("429") / 10_000, abs=0.02)
    assert 0.7 == pytest.approx(kinds.count(None) / 10_000, abs=0.02)


def test_no_failures_no_trouble() -> None:
    """Without an order for trouble there is none."""
    assert None is faults.kind_of(1, script={}, failures={}, seed=0)


@pytest.mark.parametrize(
    ("failures", "script"),
    [
        ({"lots": 0.1}, {}),
        ({"lost": -0.1}, {}),
        ({"lost": 0.6, "half": 0.6}, {}),
        ({}, {1: "lots"}),
    ],
)
def test_options_refuse_what_makes_no_sense(
    failures: dict[str, float], script: dict[int, str]
) -> None:
    """A mistyped kind or too large a share is an error, not a run without trouble."""
    with pytest.raises(ValueError, match=r"take one of|outside 0 to 1"):
        Options(failures=failures, script=script)


def test_shares_may_add_up_to_one() -> None:
    """Rounding does not make ten tenths more than the whole."""
    statuses = [str(number) for number in range(500, 510)]
    assert 10 == len(Options(failures=dict.fromkeys(statuses, 0.1)).failures)

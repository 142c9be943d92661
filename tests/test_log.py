import asyncio
import io
import json
import re
from contextlib import redirect_stderr

import pytest

from worker.core.model import Fact
from worker.log import Event, configure, logger

SECRET = "sk-0123456789abcdef"


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Return the lines of a JSON log on stderr; stdout belongs to results."""
    out, err = capsys.readouterr()
    assert "" == out
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("form", ["json", "auto"])
def test_off_a_terminal_a_line_is_one_json_object(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Off a terminal each line is one JSON object, with name, level and moment."""
    configure("info", form)
    logger().info(Event.RUN_STARTED, title="Ää\n🎬")
    (line,) = said(capsys)
    moment = line.pop("timestamp")
    assert {"event": "run_started", "level": "info", "title": "Ää\n🎬"} == line
    assert str(moment).endswith("Z")


async def test_lines_of_one_turn_are_written_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In an event loop the lines of a turn are written together when it ends, in their order."""
    configure("info", "json")
    logger().info(Event.RUN_STARTED)
    logger().info(Event.RUN_ENDED)
    assert [] == said(capsys)
    await asyncio.sleep(0)
    assert ["run_started", "run_ended"] == [line["event"] for line in said(capsys)]


def test_a_line_of_a_loop_that_has_ended_is_written_with_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A loop that ends before its turn does loses no line and holds up none."""
    configure("info", "json")

    async def end_amid() -> None:
        logger().info(Event.RUN_STARTED)
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    running = loop.create_task(end_amid())
    loop.run_forever()
    assert running.done()
    loop.close()
    logger().info(Event.RUN_ENDED)
    assert ["run_started", "run_ended"] == [line["event"] for line in said(capsys)]


def test_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for, a line is readable off a terminal too, and without colours there."""
    configure("info", "console")
    logger().warning(Event.COOL_DOWN, until="soon")
    err = capsys.readouterr().err
    words = err.split()
    assert ["[warning", "]", "cool_down", "until=soon"] == words[1:]
    assert "\x1b" not in err


def test_a_line_for_people_has_the_order_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, event, video, then the rest: plain words, nothing absent, nothing that acts."""
    configure("info", "console")
    more = {"outcome": Fact.IN_DOUBT, "status": None, "drain": True, "detail": "", "seconds": 0.25}
    told = {"message": "a\x1b[2J\n\u202eb", "verdicts": {"NoEvidence": 2, "Found": 1}}
    logger().bind(worker="w").warning(Event.ATTEMPT_ENDED, request_id="r", video=7, **more, **told)
    err = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[warning \] .*\n", err)
    assert (
        "attempt_ended        video=7 worker=w request_id=r outcome=in_doubt drain=yes "
        'seconds=0.25 message="a\\x1b[2J \\u202eb" verdicts="2 no evidence, 1 found"'
    ) == err[32:-1]


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_a_terminal_gets_colours() -> None:
    """``auto`` is console, with colours, on a terminal."""
    screen = Terminal()
    with redirect_stderr(screen):
        configure("info", "auto")
        logger().info(Event.RUN_ENDED)
    assert "\x1b[" in screen.getvalue()


def test_a_line_goes_to_the_stderr_of_its_moment() -> None:
    """A line goes where stderr leads when it is written, as a display has it."""
    configure("info", "json")
    screen = Terminal()
    with redirect_stderr(screen):
        logger().info(Event.RUN_ENDED)
    assert "run_ended" in screen.getvalue()


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_said(
    capsys: pytest.CaptureFixture[str], level: str, heard: list[str]
) -> None:
    """Lines below ``log_level`` are not logged, and all others are."""
    configure(level, "json")
    log = logger()
    for speak in (log.debug, log.info, log.warning, log.error):
        speak(Event.RUN_STARTED)
    assert heard == [line["level"] for line in said(capsys)]


def fail() -> None:
    """Raise an error in a function that holds the key in a variable."""
    key = SECRET
    raise ValueError(len(key))


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Law 11: the variables of a failed function stay out of the log, whatever they hold."""
    configure("info", form)
    try:
        fail()
    except ValueError:
        logger().exception(Event.RUN_ENDED)
    err = capsys.readouterr().err
    words = ("ValueError", "fail", SECRET)
    assert ["ValueError", "fail"] == [word for word in words if word in err]


def test_event_names_are_one_list_of_plain_words() -> None:
    """A dashboard can count on each name: one spelling, no spaces, none twice."""
    assert [event.name.lower() for event in Event] == [event.value for event in Event]

"""Every law has a test that goes red without it. `PROOF=full` takes out all of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.proof.ground import FULL, ROOT
from tests.proof.mutations import LAWS, Mutation
from tests.proof.mutations_evidence import ABSENT, FOUND
from tests.proof.mutations_following import FOLLOWED
from tests.proof.mutations_hosts import HELD
from tests.proof.mutations_pace import PACE
from tests.proof.mutations_postgres import SERVED
from tests.proof.mutations_questions import QUESTIONS
from tests.proof.mutations_uploads import UPLOADED
from tests.proof.mutations_verdict import VERDICT

ALL = (*LAWS, *FOUND, *ABSENT, *FOLLOWED, *HELD, *PACE, *SERVED, *VERDICT, *QUESTIONS, *UPLOADED)
CHOSEN = [mutation for mutation in ALL if FULL or mutation.quick]

IMPORTED = "worker/wiring.py"
"""A test that imports nearly every module."""

HANGS_SECONDS = 900


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project, to be changed; all the tests that are asked are green in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("worker", "tests", "migrations"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, folder / name)
    green = _tested(folder, {test for mutation in CHOSEN for test in mutation.tests}, IMPORTED)
    assert 0 == green.returncode, green.stdout
    return folder


def test_every_law_stands_where_it_is_to_be_taken_out() -> None:
    """Every snippet of a mutation stands exactly once in its file."""
    gone = [law.law for law in ALL if (ROOT / law.file).read_text().count(law.old) != 1]
    assert [] == gone


@pytest.mark.timeout(2 * HANGS_SECONDS)
@pytest.mark.parametrize("mutation", CHOSEN, ids=lambda mutation: mutation.law)
def test_a_law_that_is_taken_out_is_missed(copy: Path, mutation: Mutation) -> None:
    """Each named test fails when its law is removed from the code."""
    with _mutated(copy, mutation):
        red = _tested(copy, mutation.tests, mutation.file)
    failed = [line.split()[1] for line in red.stdout.splitlines() if line.startswith("FAILED ")]
    assert 1 == red.returncode, red.stdout
    assert "\nERROR " not in red.stdout, red.stdout
    for test in mutation.tests:
        assert any(node == test or node.startswith(f"{test}[") for node in failed), red.stdout


@contextmanager
def _mutated(copy: Path, mutation: Mutation) -> Iterator[None]:
    """Change the copy for a while."""
    file = copy / mutation.file
    text, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    assert 1 == text.count(mutation.old), f"{mutation.file} has changed: {mutation.old!r}"
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        file.write_text(text)
        os.utime(file, ns=times)  # so that what Python has compiled of it is good again


def _tested(copy: Path, tests: Iterable[str], file: str) -> "subprocess.CompletedProcess[str]":
    """Run these tests in the copy. Fails unless this file of it can be imported, and is the one
    that the tests see, whatever is installed.
    """
    module = file.removesuffix(".py").replace("/", ".")
    code = f"import {module} as own, pytest; print(own.__file__); raise SystemExit(pytest.main())"
    options = ("-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-rfE")
    ended = _python(copy, "-c", code, *options, *sorted(tests))
    assert ended.stdout.startswith(f"{copy / file}\n"), ended.stderr
    return ended


def _python(copy: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in the copy, which comes before the project itself; counted by no coverage."""
    ours = ("COV", "PYTEST", "PROOF")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        check=False,
    )

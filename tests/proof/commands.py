"""Commands of the program, one after the other in one process: starting it takes longer than most.

`python -m tests.proof.commands` runs each line of its standard input, a JSON object of the command
as COMMAND and the variables that it is given beside those of this process.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.processes.programs import Program
from tests.proof.ground import Ground
from worker.cli import run

ENDED = "[command {} of this process has ended]"


class Commands:
    """Such a process, from outside."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._told = 0

    async def run(self, *commands: str, **variables: object) -> None:
        """Run these with settings of their own, and wait for their end."""
        settings = {f"WORKER_{name.upper()}": str(value) for name, value in variables.items()}
        for command in commands:
            self._told += 1
            line = json.dumps({"COMMAND": command, **settings})
            self._program.stdin.write(line.encode() + b"\n")
            await self._program.printed(ENDED.format(self._told))


@asynccontextmanager
async def commands(ground: Ground, **settings: object) -> AsyncIterator[Commands]:
    """Yield a process that runs commands with these settings."""
    program = await ground.start(program=("-m", "tests.proof.commands"), **settings)
    yield Commands(program)
    program.stdin.close()
    assert 0 == (await program.ended()).code


def main() -> None:
    """Run what comes."""
    for number, line in enumerate(sys.stdin, start=1):
        variables = json.loads(line)
        run(variables.pop("COMMAND").split(), {**os.environ, **variables})
        sys.stdout.write(f"{ENDED.format(number)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

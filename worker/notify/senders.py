"""Send one message, to a command or to an address; return None, or why it failed.

A reason names no path of an address, which may be a secret.
"""

import asyncio
import os
import shlex
import signal
from collections.abc import Mapping

import aiohttp

SEND_SECONDS = 10.0
"""For one command, or for one request and its answer."""


async def run(
    command: str, body: bytes, environment: Mapping[str, str], seconds: float = SEND_SECONDS
) -> str | None:
    """Run a command on ``body``, without a shell; kill it with its children if it lasts."""
    process, pipe, null = None, asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    start = asyncio.create_subprocess_exec(
        *shlex.split(command),
        stdin=pipe,
        stdout=null,
        stderr=null,
        env=environment,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            process = await start
            await process.communicate(body)
    except TimeoutError:
        return f"killed after {seconds:g} s"
    except OSError as error:
        return error.strerror
    finally:
        if process and process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return f"exit code {process.returncode}" if process.returncode else None


async def request(
    method: str, url: str, body: bytes | None = None, seconds: float = SEND_SECONDS
) -> str | None:
    """Make one request. A redirect is a failure, since it would turn a POST into a GET."""
    limit, headers = aiohttp.ClientTimeout(total=seconds), {"Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers, trust_env=True) as session,
            session.request(method, url, data=body, allow_redirects=False) as answer,
        ):
            return None if answer.status < 300 else f"HTTP {answer.status}"  # noqa: PLR2004
    except aiohttp.ClientConnectorError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return type(error).__name__

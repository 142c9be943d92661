"""The yardstick: aiohttp alone, posting the same bodies, with no database and no pace."""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp


async def post(session: aiohttp.ClientSession, url: str, numbers: Iterator[int]) -> None:
    """Post in one slot until the numbers are used up."""
    for number in numbers:
        media = {
            "video": {"url": f"https://example.com/videos/{number}.mp4"},
            "customer_media_info": {"id": f"media-{number}"},
            "title": f"The news of day {number}",
            "description": f"All that was said and shown on day {number}, from the archive",
            "language": "en-US",
        }
        async with session.post(url, json={"api_key": "key", "media": media}) as response:
            answer = await response.json()
            assert answer["job_id"]


async def main(url: str, count: int, slots: int) -> None:
    """Post ``count`` videos, ``slots`` at once."""
    numbers = iter(range(count))
    connector = aiohttp.TCPConnector(limit=slots)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(post(session, url, numbers) for _ in range(slots)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

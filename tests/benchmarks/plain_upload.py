"""The yardstick of uploads: a plain loop by aiohttp that sends the same chunks of one file."""

import asyncio
import os
import sys

import aiohttp


async def main(url: str, path: str) -> None:
    """Upload a file by the three steps, chunk after chunk."""
    descriptor = os.open(path, os.O_RDONLY)
    size = os.fstat(descriptor).st_size

    async def post(step: str, **fields: object) -> dict[str, object]:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("api_key", "key")
        for name, value in fields.items():
            is_file = isinstance(value, bytes)
            form.add_field(
                name, value if is_file else str(value), filename="chunk" if is_file else None
            )
        async with session.post(f"{url}/{step}", data=form) as response:
            assert response.status == 200
            answer: dict[str, object] = await response.json()
            return answer

    async with aiohttp.ClientSession() as session:
        begun = await post("initialize_file_upload", file_size_bytes=size)
        chunk, upload_id = int(str(begun["file_chunk_size_bytes"])), begun["upload_id"]
        for index in range(-(-size // chunk)):
            data = await asyncio.to_thread(os.pread, descriptor, chunk, index * chunk)
            await post("send_file_chunk", upload_id=upload_id, chunk_index=index, file_data=data)
        await post("finalize_file_upload", upload_id=upload_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

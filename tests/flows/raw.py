"""Bytes on a socket, for what no HTTP client would send."""

import asyncio

from multidict import CIMultiDict

from tests.flows.world import Answer

PATIENCE = 10.0


async def exchange(address: tuple[str, int], data: bytes) -> Answer:
    """Send `data`, read one whole answer."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            return await read_answer(reader)
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    status = int(head[0].split(" ")[1])
    if not body:
        return Answer(status, headers, b"")
    if "Content-Length" in headers:
        content = await reader.readexactly(int(headers["Content-Length"]))
    elif headers.get("Transfer-Encoding") == "chunked":
        content = await _chunks(reader)
    else:
        content = await reader.read()
    return Answer(status, headers, content)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        content += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return content

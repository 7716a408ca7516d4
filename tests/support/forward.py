"""Passes on what TCP connections and Unix sockets send; prints "up" when it does.

Arguments: where it listens, and where it connects to: a port of 127.0.0.1, or a path.
"""

import asyncio
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(1 << 16):
        writer.write(content)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _main(listening: str, target: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = (
            await asyncio.open_unix_connection(target)
            if "/" in target
            else await asyncio.open_connection("127.0.0.1", int(target))
        )
        await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))
        far[1].close()
        writer.close()

    server = (
        await asyncio.start_unix_server(serve, listening)
        if "/" in listening
        else await asyncio.start_server(serve, "127.0.0.1", int(listening))
    )
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

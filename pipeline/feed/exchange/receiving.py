"""Reads a ccxt WebSocket client's connection, in place of ccxt's own loop.

ccxt's takes messages out of aiohttp's queue behind its back and mends the queue's count of bytes
afterwards; since aiohttp 3.14.4 counts 128 bytes more a message, the count only grows, and after some
thousand messages aiohttp stops reading the socket for good: no trade, no pong. (Later versions of ccxt
know; they pin idna and charset-normalizer below ours.) This one only asks for the next message, and is
cheaper as well: ccxt makes a task for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


def read_with_care(
    client: Any, on_frame: Callable[[], None], on_bad_frame: Callable[[Exception, Any], None]
) -> None:
    """Give ``client`` (ccxt's, not yet connected) another receive loop.

    ``on_frame`` is called at each message, ``on_bad_frame`` with what was raised by one and its data.
    """
    tasks: set[asyncio.Task[None]] = set()

    def start() -> None:
        task = client.asyncio_loop.create_task(_read(client, on_frame, on_bad_frame))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    client.receive_loop = start


async def _read(
    client: Any, on_frame: Callable[[], None], on_bad_frame: Callable[[Exception, Any], None]
) -> None:
    while not client.closed():
        try:
            message = await client.connection.receive()
        except Exception as error:
            # Whatever aiohttp makes of a broken connection. What survives is the feed: it connects again.
            client.on_error(error)
            return
        on_frame()
        try:
            client.handle_message(message)
        except Exception as error:
            # Broken JSON, a KeyError of ccxt's, its own errors: any of them would end the loop. What
            # survives is the connection.
            on_bad_frame(error, message.data)
    client.on_close(1006)

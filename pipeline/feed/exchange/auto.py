"""Which exchange answers: ``python -m pipeline.feed.exchange.auto`` prints it as JSON.

A process of its own: it is ended after five seconds, whatever a resolver or a handshake waits for,
and where nobody answers, the feed that goes on without exchanges never loads their client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.feed.exchange.client import ExchangeError, open_client

log = logging.getLogger(__name__)

CANDIDATES: Final = ("coinbase", "kraken", "binance")
"""In the order of preference; all are asked at once."""
ANSWER_WITHIN_S: Final = 4.0
"""For all of them together."""
END_AFTER_S: Final = 5.0
"""For the whole process."""
PREFER_S: Final = 0.5
"""How long a better one may answer later than the first to do so."""


class Choice(NamedTuple):
    """The exchange that answered, or None; and for each of the others why not."""

    exchange: str | None
    reasons: tuple[str, ...]


def probe() -> Choice:
    """Ask all, in a process of its own; returns within END_AFTER_S. Reads EXCHANGE_RELAY."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], capture_output=True, timeout=END_AFTER_S, check=True
        )
        exchange, reasons = json.loads(done.stdout)
        return Choice(exchange, tuple(reasons))
    except subprocess.TimeoutExpired:
        return Choice(None, (f"no answer within {END_AFTER_S:.0f} s",))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return Choice(None, (f"asking failed: {lines[-1] if lines else error.returncode}",))


def choose_exchange(relay: str | None = None, candidates: Sequence[str] = CANDIDATES) -> Choice:
    """Ask ``candidates``; returns within ANSWER_WITHIN_S."""
    return asyncio.run(_choose(candidates, relay))


async def _choose(candidates: Sequence[str], relay: str | None) -> Choice:
    began_s = time.monotonic()
    asks = {name: asyncio.ensure_future(_answers(name, relay)) for name in candidates}
    try:
        waiting = set(asks.values())
        deadline_s = began_s + ANSWER_WITHIN_S
        while waiting and time.monotonic() < deadline_s:
            done, waiting = await asyncio.wait(
                waiting, timeout=deadline_s - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
            if any(not ask.exception() for ask in done):
                deadline_s = min(deadline_s, time.monotonic() + PREFER_S)
        chosen = next((name for name, ask in asks.items() if ask.done() and not ask.exception()), None)
        reasons = tuple(f"{name}: {_why(ask)}" for name, ask in asks.items() if name != chosen)
        return Choice(chosen, reasons)
    finally:
        for ask in asks.values():
            ask.cancel()
        await asyncio.gather(*asks.values(), return_exceptions=True)


def _why(ask: asyncio.Future[None]) -> str:
    if not ask.done():
        return f"no answer within {ANSWER_WITHIN_S:.0f} s"
    error = ask.exception()
    return str(error).partition("\n")[0][:150] if error else "was not needed"


async def _answers(name: str, relay: str | None) -> None:
    """Return once ``name`` has answered a request; ExchangeError."""
    client = open_client(name, relay)
    client.enableRateLimit = False
    try:
        if client.has.get("fetchTime"):
            await client.fetch_time()
        else:
            await client.load_markets()
    except Exception as error:
        # ccxt's tree, aiohttp's, an odd answer's: all mean that this one does not answer.
        raise ExchangeError(f"{type(error).__name__} {str(error).partition(chr(10))[0][:120]}") from None
    finally:
        await client.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(choose_exchange(os.environ.get("EXCHANGE_RELAY") or None)))

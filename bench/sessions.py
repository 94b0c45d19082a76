"""What open sessions cost the server: 1, 10 and 50 of them, one tick a second.

A session here is what a browser tab is to the server: a Streamlit session over its own WebSocket
protocol that opens the live page and rings the doorbell once a second (a fragment rerun that drains
the mailbox), and a chart's WebSocket on 1s candles. Only the drawing is left out, so that the
browsers' CPU does not crowd out the server's on the same machine.

Each size runs for 20 s after everyone is connected. CPU is the app process's own. Redis commands
are counted by ``INFO commandstats``, without those of the market that publishes.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

import psutil
import redis

from tests.browser.market import Market
from tests.browser.running import AppServer, market_and_app
from tests.browser.tab import Tab

QUICK: Final = os.environ.get("BENCH_QUICK") == "1"
SIZES: Final = (1, 5) if QUICK else (1, 10, 50)
RUN_S: Final = 5 if QUICK else 20
MARKETS_OWN: Final = {
    "publish",
    "multi",
    "exec",
    "zadd",
    "zremrangebyscore",
    "setex",
    "sadd",
    "hset",
    "info",
    "zrangebyscore",
}


def run() -> dict[str, float | int | str]:
    results: dict[str, float | int | str] = {}
    with market_and_app(60) as running:
        for size in SIZES:
            results |= asyncio.run(_measure(size, running.app, running.market, running.client))
    return results


async def _measure(
    size: int, app: AppServer, market: Market, client: redis.Redis
) -> dict[str, float | int | str]:
    process = psutil.Process(app.pid)
    tabs = [Tab(app.url) for _ in range(size)]
    before_opening = _commands(client)
    for tab in tabs:
        await tab.open()
    await asyncio.sleep(2)
    opened, reruns = _commands(client), sum(tab.reruns for tab in tabs)
    cpu_s, began = sum(process.cpu_times()[:2]), time.monotonic()
    published = await asyncio.to_thread(_publish_and_wait, market, tabs, asyncio.get_running_loop())
    lasted = time.monotonic() - began
    cpu_percent = 100 * (sum(process.cpu_times()[:2]) - cpu_s) / lasted
    commands = _commands(client) - opened
    await asyncio.sleep(1)
    lost = sum(len(published - tab.closed) for tab in tabs)
    reruns = sum(tab.reruns for tab in tabs) - reruns
    for tab in tabs:
        await tab.close()
    await asyncio.sleep(2)
    return {
        f"sessions_{size}_cpu_percent_of_one_core": round(cpu_percent, 1),
        f"sessions_{size}_reruns_per_s": round(reruns / lasted, 1),
        f"sessions_{size}_closed_candles_sent": size * len(published),
        f"sessions_{size}_closed_candles_lost": lost,
        f"sessions_{size}_redis_commands_per_minute": round(60 * commands / lasted),
        f"sessions_{size}_redis_commands_to_open_each": round((opened - before_opening) / size, 1),
    }


def _publish_and_wait(market: Market, tabs: list[Tab], loop: asyncio.AbstractEventLoop) -> set[int]:
    """Trade once a second; everyone rings after each. Answers the 1s candles that closed meanwhile."""
    began_ms = time.time_ns() // 1_000_000
    for _ in range(RUN_S):
        due = time.monotonic() + 1
        market.trade("BTC")
        for tab in tabs:
            asyncio.run_coroutine_threadsafe(tab.ring(), loop)
        time.sleep(max(0, due - time.monotonic()))
    return market.closed_since("BTC", began_ms)


def _commands(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    return sum(calls for name, calls in names.items() if name not in MARKETS_OWN)

"""Memory over time with one open live page: the server's resident memory and the tab's JS heap.

Ten trades a second on 1s candles, so that a candle closes, Plotly draws and the fragment reruns
every second. ``SOAK_MINUTES`` (default 5) says for how long; the curve has one point a minute. The
JS heap is taken after a garbage collection, by Chromium's own ``Runtime.getHeapUsage``.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil
import redis
from playwright.sync_api import sync_playwright

from tests.browser.market import Market
from tests.browser.running import AppServer, RedisServer, chromium, open_page

MINUTES = int(os.environ.get("SOAK_MINUTES", "5"))


def run() -> dict[str, float | int | str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisServer(folder)
        server.start()
        client = redis.Redis.from_url(server.url)
        market = Market(client)
        market.past(60)
        market.run(0.1)
        app = AppServer(server.url, folder / "app.log")
        app.start()
        try:
            return _measure(app)
        finally:
            app.stop()
            market.stop()
            client.close()
            server.stop()


def _measure(app: AppServer) -> dict[str, float | int | str]:
    process = psutil.Process(app.pid)
    resident, heap = [], []
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        open_page(page, f"{app.url}/?interval=1s")
        debugger = page.context.new_cdp_session(page)
        for _ in range(MINUTES + 1):
            debugger.send("HeapProfiler.collectGarbage")
            heap.append(debugger.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
            resident.append(process.memory_info().rss / 2**20)
            time.sleep(60)
        browser.close()
    return {
        "minutes": MINUTES,
        "server_resident_curve_mib": " ".join(f"{value:.0f}" for value in resident),
        "tab_js_heap_curve_mib": " ".join(f"{value:.1f}" for value in heap),
        "server_resident_growth_mib": round(resident[-1] - resident[1], 1),
        "tab_js_heap_growth_mib": round(heap[-1] - heap[1], 1),
    }

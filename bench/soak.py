"""Memory over time with one open live page: the server's resident memory and the tab's JS heap.

Ten trades a second on 1s candles, so that a candle closes, Plotly draws and the fragment reruns
every second. ``SOAK_MINUTES`` (default 5) says for how long; the curve has one point a minute. The
JS heap is taken after a garbage collection, by Chromium's own ``Runtime.getHeapUsage``; the page's
DOM nodes and event listeners by ``Memory.getDOMCounters``. Growth is between the means of the first
and of the last fifth of the curve, without its first point: a heap breathes.
"""

from __future__ import annotations

import os
import statistics
import time

import psutil
from playwright.sync_api import sync_playwright

from tests.browser.running import AppServer, chromium, market_and_app, open_page

MINUTES = int(os.environ.get("SOAK_MINUTES", "5"))


def run() -> dict[str, float | int | str]:
    with market_and_app(60, every_s=0.1) as running:
        return _measure(running.app)


def _measure(app: AppServer) -> dict[str, float | int | str]:
    process = psutil.Process(app.pid)
    resident, heap, counters = [], [], []
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        open_page(page, f"{app.url}/?interval=1s")
        debugger = page.context.new_cdp_session(page)
        for minute in range(MINUTES + 1):
            debugger.send("HeapProfiler.collectGarbage")
            heap.append(debugger.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
            counters.append(debugger.send("Memory.getDOMCounters"))
            resident.append(process.memory_info().rss / 2**20)
            if minute < MINUTES:
                time.sleep(60)
        browser.close()
    return {
        "minutes": MINUTES,
        "server_resident_curve_mib": " ".join(f"{value:.0f}" for value in resident),
        "tab_js_heap_curve_mib": " ".join(f"{value:.1f}" for value in heap),
        "tab_dom_nodes_curve": " ".join(str(each["nodes"]) for each in counters),
        "tab_listeners_curve": " ".join(str(each["jsEventListeners"]) for each in counters),
        "server_resident_growth_mib": _growth(resident),
        "tab_js_heap_growth_mib": _growth(heap),
    }


def _growth(curve: list[float]) -> float:
    settled = curve[1:] or curve
    fifth = max(1, len(settled) // 5)
    return round(statistics.mean(settled[-fifth:]) - statistics.mean(settled[:fifth]), 1)

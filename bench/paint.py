"""From publishing to painted on the live page: real Redis, real app, real headless Chromium.

A market publishes one trade every 250 ms (all five intervals). The page notes, for each tick, the
time at which the frame that shows it was painted (a message posted from the frame's callback comes
after the painting); both clocks are this machine's. Meanwhile a loop in the page looks at every
frame for a chart that is blank or was mounted again, and the view is zoomed at the start.

Three runs of 20 s after a warm-up; medians of the runs. Server CPU is what the app
process takes more, for each tick, with one open session (its frames, doorbell and reruns) than
with none.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence

import psutil
from playwright.sync_api import Page, sync_playwright

from tests.browser.market import Market
from tests.browser.running import AppServer, chromium, market_and_app, open_page

QUICK = os.environ.get("BENCH_QUICK") == "1"
RUNS, RUN_S, EVERY_S = 1 if QUICK else 3, 5 if QUICK else 20, 0.25
WATCH = """() => {
  const watch = window.watch = { frames: 0, blank: 0, remounts: 0, plot: document.querySelector('.cc-plot') };
  const look = () => {
    watch.frames += 1;
    const plot = document.querySelector('.cc-plot');
    const box = plot?.querySelector(".main-svg path.box");
    const drawn = box && document.querySelector('.cc-stage canvas')?.width;
    if (!drawn) watch.blank += 1;
    if (plot !== watch.plot) { watch.remounts += 1; watch.plot = plot; }
    requestAnimationFrame(look);
  };
  look();
}"""
CHART = "document.querySelector('.cc-chart').chart"


def run() -> dict[str, float | int | str]:
    with market_and_app(180) as running:
        return _measure(running.app, running.market)


def _measure(app: AppServer, market: Market) -> dict[str, float | int | str]:
    process = psutil.Process(app.pid)
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        alone_ms = _cpu_ms_per_tick(process, market)
        _open_live(page, app.url)
        first_paint_ms = statistics.median(_warm_paint_ms(page, app.url) for _ in range(3))
        _open_live(page, app.url)
        page.evaluate(WATCH)
        zoomed = _zoom(page)
        _publish(market, 5)
        runs = []
        for _ in range(RUNS):
            page.evaluate(f"{CHART}.paints.length = 0")
            cpu_ms = _cpu_ms_per_tick(process, market)
            paints = page.evaluate(f"{CHART}.paints")
            runs.append(([painted - published for _, published, painted in paints], cpu_ms))
        watch = page.evaluate("({ ...window.watch, plot: null })")
        kept = _range(page) == zoomed
        browser.close()
    return {
        "publish_to_painted_p50_ms": statistics.median(_quantile(ages, 0.5) for ages, _ in runs),
        "publish_to_painted_p95_ms": statistics.median(_quantile(ages, 0.95) for ages, _ in runs),
        "server_cpu_ms_per_tick_and_session": round(statistics.median(cpu for _, cpu in runs) - alone_ms, 2),
        "server_cpu_ms_per_tick_without_session": round(alone_ms, 2),
        "first_paint_warm_ms": round(first_paint_ms),
        "ticks": RUNS * int(RUN_S / EVERY_S),
        "painted": sum(len(ages) for ages, _ in runs),
        "frames_looked_at": watch["frames"],
        "blank_frames": watch["blank"],
        "remounts": watch["remounts"],
        "zoom_kept": "yes" if kept else "no",
    }


def _open_live(page: Page, url: str) -> None:
    open_page(page, url)
    page.wait_for_selector(".cc-plot .main-svg")


def _warm_paint_ms(page: Page, url: str) -> float:
    """From asking for the live page to its drawn chart, with the browser's cache filled."""
    began = time.monotonic()
    page.goto(url)
    page.wait_for_selector(".cc-plot .main-svg path.box", state="attached")
    return 1000 * (time.monotonic() - began)


def _zoom(page: Page) -> list[str]:
    box = page.locator(".cc-stage").bounding_box()
    assert box
    page.mouse.move(box["x"] + 600, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 900, box["y"] + 150, steps=5)
    page.mouse.up()
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(1_000)
    return _range(page)


def _range(page: Page) -> list[str]:
    return list(page.evaluate(f"{CHART}.plot._fullLayout.xaxis.range"))


def _publish(market: Market, seconds: float) -> int:
    ticks = 0
    began = time.monotonic()
    while (due := began + ticks * EVERY_S) < began + seconds:
        time.sleep(max(0, due - time.monotonic()))
        market.trade("BTC")
        ticks += 1
    time.sleep(EVERY_S)
    return ticks


def _cpu_ms_per_tick(process: psutil.Process, market: Market) -> float:
    """CPU of the app for each tick, everything it does in that time included."""
    before = sum(process.cpu_times()[:2])
    ticks = _publish(market, RUN_S)
    return 1000 * (sum(process.cpu_times()[:2]) - before) / ticks


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]

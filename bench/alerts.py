"""From a trade in the stream to its toast on the page: real Redis, real job, real headless Chromium.

Trades are put into the stream one at a time, as the feed does it, for two symbols; their event times
move a minute each round. The page is the live page of the one with the price line; both clocks are
this machine's. A toast counts as painted when a message posted from the frame's callback arrives.

* ``closed``: from the XADD of the trade that moves the watermark over a minute's end to the toast
  that says its final word about a move of 6% in it.
* ``provisional``: from the XADD of the trade that makes the move to the toast that says so early.
* ``price_line``: from the XADD of the trade that crosses a price line of the session to its toast.

Three runs of 40 rounds after 5 to warm up (BENCH_QUICK=1: one run of 8); medians of the runs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from playwright.sync_api import Page, sync_playwright

from pipeline.market import Interval
from pipeline.wall_clock import now_ms
from tests.browser.running import chromium, open_page
from tests.browser.whole import Whole

_QUICK: Final = os.environ.get("BENCH_QUICK", "") not in {"", "0"}
_RUNS, _ROUNDS, _WARM_UP = (1, 8, 3) if _QUICK else (3, 40, 5)
_GAP_S: Final = 0.3
_LONGEST_MS: Final = 5_000
_MINUTE_MS: Final = Interval.M1.ms


class Added(NamedTuple):
    """When, in ms, the trades of one round were put in."""

    minute_ms: int
    opened: int
    spiked: int
    crossed: int


def run() -> dict[str, float | int | str]:
    rounds = _WARM_UP + _RUNS * _ROUNDS
    first_ms = Interval.M1.open_time(now_ms()) - (rounds + 5) * _MINUTE_MS
    with (
        tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder,
        sync_playwright() as playwright,
    ):
        whole = Whole(Path(folder))
        try:
            whole.start(first_ms)
            browser = chromium(playwright)
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            figures = _measure(whole, page, first_ms)
            browser.close()
            return figures
        finally:
            whole.stop()


def _measure(whole: Whole, page: Page, first_ms: int) -> dict[str, float | int | str]:
    for minute in (0, 1):
        for symbol in ("LINE", "MOVE"):
            whole.inject(symbol, "100", first_ms + minute * _MINUTE_MS + 1_000)
    open_page(page, f"{whole.url}/?symbol=LINE")
    page.wait_for_selector(".cc-bell-box[data-state=listening]")
    page.wait_for_selector(".cc-plot .main-svg")
    page.get_by_role("button", name="Price line", exact=True).click()
    page.locator(".cc-line-form").get_by_label("Price", exact=True).fill("100.5")
    page.keyboard.press("Enter")
    for number in range(2, _WARM_UP + 2):
        _round(whole, page, first_ms + number * _MINUTE_MS)
    _paints(page)
    runs = []
    for number in range(_RUNS):
        start = 2 + _WARM_UP + number * _ROUNDS
        added = [_round(whole, page, first_ms + each * _MINUTE_MS) for each in range(start, start + _ROUNDS)]
        runs.append(_latencies(added, _paints(page)))
    figures: dict[str, float | int | str] = {}
    for kind in ("closed", "provisional", "price_line"):
        figures[f"{kind}_p50_ms"] = statistics.median(_quantile(run[kind], 0.5) for run in runs)
        figures[f"{kind}_p95_ms"] = statistics.median(_quantile(run[kind], 0.95) for run in runs)
        figures[f"{kind}_toasts"] = sum(len(run[kind]) for run in runs)
    figures["rounds"] = _RUNS * _ROUNDS
    return figures


def _round(whole: Whole, page: Page, minute_ms: int) -> Added:
    """One minute: its first trade closes the one before; then MOVE moves by 6%, and LINE over its line."""
    late_ms = whole.settings.out_of_order_ms
    whole.inject("LINE", "100", minute_ms + late_ms - 1)  # arms the line again, closes nothing yet
    opened = whole.inject("MOVE", "100", minute_ms + late_ms)
    _wait(page)
    spiked = whole.inject("MOVE", "106", minute_ms + 30_000)
    _wait(page)
    crossed = whole.inject("LINE", "101", minute_ms + 40_000)
    _wait(page)
    return Added(minute_ms, opened, spiked, crossed)


def _wait(page: Page) -> None:
    """Let the page run: Playwright's own loop must not sleep."""
    page.wait_for_timeout(1000 * _GAP_S)


def _paints(page: Page) -> list[dict[str, Any]]:
    time.sleep(1)  # the last toast is on its way
    found: list[dict[str, Any]] = page.evaluate("document.querySelector('.cc-toasts').toasts.paints.splice(0)")
    return found


def _latencies(added: Sequence[Added], paints: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """From each trade to the first paint of its toast after it, in ms; one that never came is missing."""
    found: dict[str, list[int]] = {"closed": [], "provisional": [], "price_line": []}
    for this, following in zip(added, [*added[1:], None], strict=True):
        key = f"MOVE PRICE_SPIKE {this.minute_ms}"
        of_alert = [paint["at"] for paint in paints if paint["key"] == key]
        of_line = [paint["at"] for paint in paints if " PRICE_SPIKE " not in paint["key"]]
        pairs = [("provisional", this.spiked, of_alert), ("price_line", this.crossed, of_line)]
        if following:
            pairs.append(("closed", following.opened, of_alert))
        for kind, at, candidates in pairs:
            waited = [paint - at for paint in candidates if 0 <= paint - at < _LONGEST_MS]
            found[kind] += waited[:1]
    return found


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")

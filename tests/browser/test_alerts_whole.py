"""From a trade in the stream, through the real job on a real Flink, to a toast in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pipeline.market import Interval
from pipeline.wall_clock import now_ms
from tests.browser.running import open_page
from tests.browser.test_live_page import open_live
from tests.browser.whole import Whole

MINUTE_MS = Interval.M1.ms


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A JVM, a Flink and a browser may be busy: only how long a failure takes depends on it."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


def test_an_injected_trade_becomes_a_toast_a_mark_and_a_row(page: Page, tmp_path: Path) -> None:
    whole = Whole(tmp_path)
    minute = Interval.M1.open_time(now_ms()) - 5 * MINUTE_MS
    try:
        whole.start(minute)
        for symbol in ("BTC", "ETH"):
            whole.inject(symbol, "100", minute + 1_000)
        open_page(page, f"{whole.url}/?symbol=BTC")
        page.wait_for_selector(".cc-bell-box[data-state=listening]")
        page.wait_for_selector(".cc-plot .main-svg")

        whole.inject("BTC", "105", minute + 20_000)  # exactly the threshold
        whole.inject("ETH", "106.5", minute + 30_000)  # beyond it
        toast = page.locator(f".cc-toast[data-key='ETH PRICE_SPIKE {minute}']")
        expect(toast).to_contain_text("ETH price spike +6.50%")
        expect(toast).to_contain_text("provisional")
        expect(page.locator(".cc-toast")).to_have_count(1)

        whole.inject("ETH", "111", minute + 50_000)
        closing_ms = minute + MINUTE_MS + whole.settings.out_of_order_ms
        whole.inject("BTC", "106", closing_ms)  # moves the watermark over the minute's end
        expect(toast).to_contain_text("ETH price spike +11.00%")
        expect(toast).not_to_contain_text("provisional")
        expect(toast.locator(".cc-severity")).to_have_text("HIGH")
        expect(page.locator(".cc-toast")).to_have_count(1)

        toast.locator(".cc-toast-go").click()
        expect(page.locator(".cc-masthead h1")).to_have_text("ETH / USD")
        expect(page.locator(f".cc-mark[data-time='{minute}']")).to_be_visible()
        page.get_by_role("link", name="Alerts", exact=True).click()
        expect(page.locator(".cc-alert-list li")).to_have_count(1)
        expect(page.locator(".cc-alert-list li")).to_have_attribute("data-symbol", "ETH")
    finally:
        whole.stop()


def test_an_injected_trade_crosses_a_price_line(page: Page, tmp_path: Path) -> None:
    whole = Whole(tmp_path)
    minute = Interval.M1.open_time(now_ms()) - 5 * MINUTE_MS
    try:
        whole.start(minute)
        whole.inject("BTC", "100", minute + 1_000)
        open_live_page(page, whole, minute)
        page.get_by_role("button", name="Price line", exact=True).click()
        page.locator(".cc-line-form").get_by_label("Price", exact=True).fill("100.5")
        page.keyboard.press("Enter")
        whole.inject("BTC", "100.4", minute + 62_000)
        whole.inject("BTC", "100.6", minute + 63_000)
        expect(page.locator(".cc-toast.line")).to_contain_text("BTC is above 100.50")
        expect(page.locator(".cc-toast.line")).to_have_count(1)
    finally:
        whole.stop()


def open_live_page(page: Page, whole: Whole, minute: int) -> None:
    """A chart needs two candles."""
    whole.inject("BTC", "100", minute + MINUTE_MS + 1_000)
    open_live(page, f"{whole.url}/?symbol=BTC")

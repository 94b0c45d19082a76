"""The live page while Redis or the server is stopped under it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.live import assert_chart_equals_history, drawn_rows, open_live
from tests.browser.running import Running, market_and_app, wait_until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """An app and a Redis that a test may break."""
    with market_and_app(30, tmp_path, every_s=0.05) as running:
        yield running


def closed_after(page: Page, count: int) -> Callable[[], bool]:
    """Whether `count` more candles have been drawn than now."""
    drawn = len(drawn_rows(page))
    return lambda: len(drawn_rows(page)) >= drawn + count


def test_redis_stopped_and_started_under_an_open_page_leaves_no_hole(page: Page, own: Running) -> None:
    open_live(page, f"{own.app.url}/?interval=1s")
    own.redis.stop()
    badge = page.locator(".cc-badge")
    expect(badge).to_have_attribute("data-state", re.compile("disconnected|stale"), timeout=30_000)
    own.redis.start()
    expect(badge).to_have_attribute("data-state", "live", timeout=30_000)
    wait_until(closed_after(page, 4), "four more candles")
    own.market.stop()
    page.wait_for_timeout(1500)
    assert_chart_equals_history(page, own.client, "BTC", "1s")


def test_the_server_restarted_under_an_open_page_leaves_no_hole(page: Page, own: Running) -> None:
    open_live(page, f"{own.app.url}/?interval=1s")
    own.app.stop()
    expect(page.locator(".cc-badge")).to_have_attribute("data-state", "disconnected", timeout=30_000)
    own.app.start()
    page.wait_for_function(
        "() => document.querySelector('.cc-badge')?.dataset.state === 'live'", timeout=60_000
    )
    wait_until(closed_after(page, 4), "four more candles")
    own.market.stop()
    page.wait_for_timeout(1500)
    assert_chart_equals_history(page, own.client, "BTC", "1s")

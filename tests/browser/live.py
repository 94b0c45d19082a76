"""What tests of the live page share: opening it, waiting for it, reading what its chart holds."""

from __future__ import annotations

from typing import Any

import redis
from playwright.sync_api import Page

from pipeline import keys
from pipeline.candle import Candle
from tests.browser.running import open_page

CHART = "document.querySelector('.cc-chart').chart"


def chart(page: Page, expression: str) -> Any:
    """Value of a JavaScript expression about ``chart``."""
    return page.evaluate(f"() => {{ const chart = {CHART}; return {expression}; }}")


def open_live(page: Page, url: str) -> None:
    open_page(page, url)
    page.wait_for_function("() => document.querySelector('.cc-chart')?.chart?.series?.rows.length > 1")
    page.wait_for_selector(".cc-plot .main-svg")


def wait_for_ticks(page: Page, count: int) -> None:
    """Until the open page has drawn this many more ticks."""
    seen = chart(page, "chart.counts.ticks")
    page.wait_for_function(f"() => {CHART}.counts.ticks >= {seen + count}")


def pan(page: Page, by: int) -> None:
    box = page.locator(".cc-stage").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + 150
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by / 2, y, steps=5)
    page.mouse.move(x + by, y, steps=5)
    page.mouse.up()


def shown_range(page: Page) -> list[str]:
    return list(chart(page, "chart.plot._fullLayout.xaxis.range"))


def history(client: redis.Redis, symbol: str, interval: str = "1m") -> list[Candle]:
    return [Candle.from_json(text) for text in client.zrange(keys.history(symbol, interval), 0, -1)]


def drawn_rows(page: Page) -> dict[int, dict[str, Any]]:
    return {row["open_time_ms"]: row for row in chart(page, "chart.series.rows")}


def assert_chart_equals_history(page: Page, client: redis.Redis, symbol: str, interval: str) -> None:
    """Every closed candle of history since the chart's first row is there, with its numbers."""
    rows = drawn_rows(page)
    first = min(rows)
    for candle in history(client, symbol, interval):
        if candle.open_time_ms < first:
            continue
        row = rows[candle.open_time_ms]
        assert row["is_closed"]
        drawn = [row[name] for name in ("open", "high", "low", "close", "volume", "trade_count")]
        assert drawn == [
            float(candle.open), float(candle.high), float(candle.low), float(candle.close),
            float(candle.volume), candle.trade_count,
        ]  # fmt: skip

"""The live page in a real browser, over a real Redis and a market that goes on trading."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import redis
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from dashboard.assets import MODULES_PATH
from dashboard.chart import bar, fill_gaps
from dashboard.indicators import Indicator, heikin_ashi
from pipeline.candle import CSV_HEADER, Candle
from tests.browser.live import (
    CHART,
    assert_chart_equals_history,
    chart,
    history,
    open_live,
    pan,
    shown_range,
    wait_for_ticks,
)
from tests.browser.market import Market
from tests.browser.running import AppServer, RedisServer


def test_the_forming_candle_moves_without_a_remount(page: Page, app: str) -> None:
    open_live(page, app)
    page.evaluate("document.querySelector('.cc-plot').dataset.mine = 'yes'")
    before = page.locator(".cc-stage canvas").evaluate("canvas => canvas.toDataURL()")
    wait_for_ticks(page, 10)
    assert page.locator(".cc-stage canvas").evaluate("canvas => canvas.toDataURL()") != before
    assert page.locator(".cc-plot").get_attribute("data-mine") == "yes"


def test_the_page_opens_with_the_whole_history(page: Page, app: str, market_redis: RedisServer) -> None:
    open_live(page, app)
    with redis.Redis.from_url(market_redis.url) as client:
        assert len(history(client, "BTC")) >= 170
        assert_chart_equals_history(page, client, "BTC", "1m")


def test_the_badge_tells_the_latency_and_that_the_market_is_simulated(page: Page, app: str) -> None:
    open_live(page, app)
    badge = page.locator(".cc-badge")
    page.wait_for_function("() => / ms$/.test(document.querySelector('.cc-badge').textContent)")
    assert badge.get_attribute("data-state") == "live"
    expect(page.locator(".cc-tags")).to_have_text("simulated")


def test_the_doorbell_redraws_the_cards_from_session_state(page: Page, app: str) -> None:
    open_live(page, app)
    card = page.locator(".cc-card .cc-value").first
    before = card.inner_text()
    page.wait_for_function(
        "before => document.querySelector('.cc-card .cc-value').textContent !== before", arg=before
    )
    assert page.locator(".cc-card").count() == 5


def test_zoom_and_pan_survive_fifty_ticks(page: Page, app: str) -> None:
    open_live(page, app)
    pan(page, 500)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(300)
    before = shown_range(page)
    wait_for_ticks(page, 50)
    assert shown_range(page) == before
    assert chart(page, "chart.counts.mounts") == 1


def test_panning_leaves_the_newest_candle_and_one_click_takes_it_up_again(page: Page, app: str) -> None:
    open_live(page, app)
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    pan(page, 900)
    expect(follow).to_have_attribute("aria-pressed", "false")
    assert chart(page, "chart.series.last.open_time_ms > chart.view[1]")
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    assert chart(page, "chart.series.last.open_time_ms < chart.view[1]")


def test_the_crosshair_reads_out_the_candle_under_the_pointer_while_ticks_go_on(page: Page, app: str) -> None:
    open_live(page, app)
    box = page.locator(".cc-stage").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 150)
    page.wait_for_function(f"() => {CHART}.cross")
    wait_for_ticks(page, 1)
    before = page.locator(".cc-readout").inner_text()
    wait_for_ticks(page, 10)
    assert page.locator(".cc-readout").inner_text() == before
    newest = chart(page, "new Date(chart.series.last.open_time_ms).toISOString().slice(11, 16)")
    assert not before.startswith(newest)


def test_symbol_and_interval_switch_in_place_and_stay_in_the_url(page: Page, app: str) -> None:
    open_live(page, app)
    page.get_by_role("combobox", name="Symbol").click()
    page.get_by_role("option", name="ETH").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("ETH / USD")
    page.wait_for_function(f"() => {CHART}.series.symbol === 'ETH' && {CHART}.series.rows.length > 100")
    page.get_by_role("radio", name="5m", exact=True).click()
    page.wait_for_function(f"() => {CHART}.series.interval === '5m' && {CHART}.series.rows.length > 30")
    wait_for_ticks(page, 3)
    assert chart(page, "chart.series.rows.every(row => row.symbol === 'ETH' || row.symbol === undefined)")
    assert chart(page, "chart.series.last.close") < 10_000
    assert "symbol=ETH" in page.url and "interval=5m" in page.url


def test_a_link_opens_the_same_view(page: Page, app: str) -> None:
    open_live(page, f"{app}/?symbol=SOL&interval=15m&chart=Line&indicators=EMA+9&indicators=RSI+14")
    expect(page.locator(".cc-masthead h1")).to_have_text("SOL / USD")
    roles = chart(page, "chart.data.figure.data.map(trace => trace.meta.role + ' ' + (trace.name ?? ''))")
    assert roles == ["line ", "volume ", "indicator EMA 9", "indicator RSI 14"]
    assert chart(page, "chart.series.interval") == "15m"
    expect(page.locator(".cc-readout")).to_contain_text("RSI 14")


def test_an_unknown_symbol_in_the_url_opens_the_first_one(page: Page, app: str) -> None:
    open_live(page, f"{app}/?symbol=NOPE")
    expect(page.locator(".cc-masthead h1")).to_have_text("BTC / USD")


@pytest.mark.parametrize("kind", ["Candles", "Heikin-ashi", "Line"])
def test_every_chart_type_draws_and_moves(page: Page, app: str, kind: str) -> None:
    open_live(page, f"{app}/?chart={kind}&interval=1s&indicators=BB+20&indicators=VWAP")
    before = page.locator(".cc-stage canvas").evaluate("canvas => canvas.toDataURL()")
    wait_for_ticks(page, 10)
    assert page.locator(".cc-stage canvas").evaluate("canvas => canvas.toDataURL()") != before


def test_closed_candles_go_into_the_figure_when_they_close(
    page: Page, app: str, market_redis: RedisServer
) -> None:
    open_live(page, f"{app}/?interval=1s")
    first = chart(page, "chart.drawnUntilMs")
    page.wait_for_function(f"() => {CHART}.drawnUntilMs >= {first + 4000}")
    assert chart(page, "Date.parse(chart.plot.data[0].x.at(-1) + 'Z') === chart.drawnUntilMs")


def test_older_candles_are_fetched_when_someone_pans_to_them(page: Page, app: str) -> None:
    open_live(page, f"{app}/?interval=1s")
    before = chart(page, "chart.series.rows[0].open_time_ms")
    page.locator(".cc-stage").focus()
    for _ in range(14):
        page.keyboard.press("-")
    page.wait_for_function(f"() => {CHART}.series.rows[0].open_time_ms < {before}")


def test_a_hidden_tab_draws_nothing_and_catches_up_when_shown(page: Page, app: str) -> None:
    open_live(page, app)
    # What a browser does to a hidden tab: no frames. Headless Chromium never hides one.
    page.evaluate("""() => {
      window.realFrame = window.requestAnimationFrame;
      window.held = [];
      window.requestAnimationFrame = (draw) => window.held.push(draw);
      Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });
    }""")
    wait_for_ticks(page, 2)
    frames, rings = (
        chart(page, "chart.counts.frames"),
        page.evaluate("document.querySelector('.cc-masthead').masthead.rings"),
    )
    wait_for_ticks(page, 30)
    assert chart(page, "chart.counts.frames") == frames
    assert page.evaluate("document.querySelector('.cc-masthead').masthead.rings") <= rings + 1
    page.evaluate("""() => {
      window.requestAnimationFrame = window.realFrame;
      Object.defineProperty(document, 'hidden', { get: () => false, configurable: true });
      for (const draw of window.held) window.requestAnimationFrame(draw);
      document.dispatchEvent(new Event('visibilitychange'));
    }""")
    page.wait_for_function(f"() => {CHART}.counts.frames > {frames}")
    page.wait_for_function(f"() => document.querySelector('.cc-masthead').masthead.rings > {rings}")


def test_the_csv_holds_the_closed_candles_digit_by_digit(
    page: Page, app: str, market_redis: RedisServer
) -> None:
    open_live(page, app)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename == "BTC-1m.csv"
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
    with redis.Redis.from_url(market_redis.url) as client:
        expected = [candle.csv_row() for candle in history(client, "BTC")]
    assert tuple(rows[0]) == CSV_HEADER
    assert rows[1:] == expected[: len(rows) - 1] and len(rows) > 170


def test_the_png_shows_the_chart(page: Page, app: str) -> None:
    open_live(page, app)
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    with Image.open(download.value.path()) as image:
        assert image.size == (1600, 900)
        colors = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colors and len(colors) > 50


def test_a_phone_shows_it_all_without_scrolling_sideways(page: Page, app: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_live(page, app)
    wait_for_ticks(page, 2)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    stage = page.locator(".cc-stage").bounding_box()
    assert stage and stage["width"] > 330 and stage["height"] > 300


def test_the_chart_can_be_read_and_moved_by_keyboard(page: Page, app: str) -> None:
    open_live(page, app)
    stage = page.locator(".cc-stage")
    assert "last price" in str(stage.get_attribute("aria-label"))
    stage.focus()
    span = chart(page, "chart.view[1] - chart.view[0]")
    page.keyboard.press("+")
    page.wait_for_function(f"() => {CHART}.view[1] - {CHART}.view[0] < {span * 0.8}")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => {CHART}.cross")
    page.keyboard.press("Escape")
    page.wait_for_function(f"() => !{CHART}.cross")


def test_many_ticks_and_pages_add_no_redis_commands(page: Page, app: str, market_redis: RedisServer) -> None:
    open_live(page, app)
    others = [page.context.new_page() for _ in range(2)]
    for other in others:
        open_live(other, app)
    wait_for_ticks(page, 10)
    with redis.Redis.from_url(market_redis.url) as client:

        def reads() -> int:
            names = ("zrange", "zrevrange", "zrangebyscore", "zrevrangebyscore", "hgetall", "get", "smembers")
            stats = client.info("commandstats")
            return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)

        before = reads()
        wait_for_ticks(page, 40)
        # What the feed says of itself is read when a minute closes: once, for all pages together.
        assert reads() - before <= 2


def test_times_are_utc_unless_local_ones_are_asked_for(browser: Browser, app: str) -> None:
    context = browser.new_context(timezone_id="Asia/Kolkata")  # no whole number of hours
    page = context.new_page()
    shown = "new Date(chart.series.last.open_time_ms + {}).toISOString().slice(11, 16)"
    for query, ahead_ms in (("", 0), ("?local=true", 19_800_000)):
        open_live(page, f"{app}/{query}")
        wait_for_ticks(page, 1)
        assert page.locator(".cc-readout b").inner_text() == chart(page, shown.format(ahead_ms))
        newest = chart(page, f"chart.series.last.open_time_ms + {ahead_ms}")
        axis = chart(page, "chart.plot._fullLayout.xaxis.range.map(at => chart.plot._fullLayout.xaxis.r2l(at))")
        assert axis[0] < newest < axis[1]
    context.close()


def test_the_page_shows_the_token_that_the_gateway_wants(
    page: Page, market: Market, market_redis: RedisServer, log: Path
) -> None:
    server = AppServer(market_redis.url, log, WS_TOKEN="open-sesame-and-then-some")
    server.start()
    try:
        open_live(page, server.url)
        wait_for_ticks(page, 3)
    finally:
        server.stop()


def test_the_browser_and_python_compute_the_same_indicators(page: Page, app: str) -> None:
    open_live(page, f"{app}/?interval=1s")
    rows = [row for row in chart(page, "chart.series.rows") if row["trade_count"] % 3]  # leave gaps
    rows = [{**row, "symbol": "BTC", "interval": "1s"} for row in rows]
    module = f"{app}/{MODULES_PATH}"
    filled = page.evaluate(f"async rows => (await import('{module}/series.js')).fillGaps(rows, 1000)", rows)
    bars = fill_gaps([bar(Candle.from_json(json.dumps(row))) for row in rows], 1000)
    assert [(row["open_time_ms"], row["close"], row["volume"]) for row in filled] == [
        (each.open_time_ms, each.close, each.volume) for each in bars
    ]
    for name in ("SMA 7", "EMA 12", "BB 20", "VWAP", "RSI 14"):
        indicator = Indicator.parse(name)
        assert indicator
        spec = {"kind": indicator.kind, "length": indicator.length, "width": indicator.width}
        theirs = page.evaluate(
            f"async ([spec, rows]) => (await import('{module}/indicators.js')).lines(spec, rows)",
            [spec, filled],
        )
        for their, ours in zip(theirs, indicator.lines(bars), strict=True):
            assert [value is None for value in their] == [value is None for value in ours], name
            numbers = [value for value in ours if value is not None]
            assert [value for value in their if value is not None] == pytest.approx(numbers, rel=1e-9), name
    theirs = page.evaluate(f"async rows => (await import('{module}/indicators.js')).heikinAshi(rows)", filled)
    assert [row["open"] for row in theirs] == pytest.approx(
        [each.open for each in heikin_ashi(bars)], rel=1e-12
    )


def test_a_chart_that_follows_keeps_only_the_candles_that_it_shows(page: Page, app: str) -> None:
    open_live(page, f"{app}/?interval=1s")
    page.locator(".cc-stage").focus()
    for _ in range(14):
        page.keyboard.press("-")
    page.wait_for_function(f"() => {CHART}.series.rows.length > 800")
    page.get_by_role("button", name="1m", exact=True).click()
    page.wait_for_function(f"() => {CHART}.series.rows.length <= 600")
    assert chart(page, "chart.series.last.open_time_ms <= chart.view[1]")


def test_the_cleanup_of_an_overtaken_call_leaves_what_is_on_the_page(page: Page, app: str) -> None:
    open_live(page, app)
    left, gone = page.evaluate(
        """async (module) => {
          const { mounted } = await import(`${module}/feed.js`);
          const closed = [];
          const element = document.body.appendChild(document.createElement("div"));
          const create = () => ({ close: () => closed.push("closed") });
          // Streamlit cleans up after a call as soon as the next one has begun, which is before that
          // one has mounted anything.
          const [first, cleanFirst] = mounted(element, create);
          cleanFirst();
          const [second, cleanSecond] = mounted(element, create);
          const left = first === second && closed.length === 0;
          element.remove();
          cleanSecond();
          return [left, closed.length];
        }""",
        f"{app}/{MODULES_PATH}",
    )
    assert left and gone == 1

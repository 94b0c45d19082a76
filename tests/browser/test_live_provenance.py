"""Where candles come from, as the pages tell it: gaps, the exchange's own history, the feed's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard.assets import MODULES_PATH
from pipeline import keys
from pipeline.gap import Agreement, Gap
from pipeline.market import Interval
from pipeline.wall_clock import now_ms
from tests.browser.live import CHART, chart, history, open_live
from tests.browser.running import Running, market_and_app, open_page

SENTENCE = "No exchange could be reached, showing a simulated market"
REASON = "connection lost <b>twice</b>"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A market with a gap two minutes long, whose first minute the exchange stands in for."""
    with market_and_app(30, tmp_path, every_s=0.1) as running:
        client, whole = running.client, history(running.client, "BTC")
        first, second = whole[-9], whole[-8]
        gap = Gap("BTC", first.open_time_ms + 5_000, second.close_time_ms - 1, REASON, now_ms())
        client.xadd(keys.GAPS, {"gap": gap.to_json()})
        theirs = (
            first.to_json()
            .replace(f'"epoch":{first.epoch}', '"epoch":0')
            .replace(f'"seq":{first.seq}', '"seq":0')
        )
        theirs = f'{theirs[:-1]},"source":"exchange"}}'
        client.zadd(keys.exchange_history("BTC", "1m"), {theirs: first.open_time_ms})
        agreement = Agreement("1m", 1_440, 1_438, [first.open_time_ms], now_ms())
        client.hset(keys.AGREEMENT, "BTC", agreement.to_json())
        client.hset(keys.FEED, mapping={"source": "simulator", "simulated": 1, "detail": SENTENCE})
        yield running


def point_at(page: Page, open_time_ms: int) -> None:
    x = chart(page, f"chart.plot._fullLayout.xaxis._offset + chart.plot._fullLayout.xaxis.l2p({open_time_ms})")
    box = page.locator(".cc-stage").bounding_box()
    assert box
    page.mouse.move(box["x"] + x, box["y"] + 200)


def test_a_gap_is_shaded_and_the_candle_under_the_pointer_tells_its_reason(page: Page, own: Running) -> None:
    open_live(page, own.app.url)
    expect(page.locator(".cc-sentence")).to_have_text(SENTENCE)
    page.wait_for_function(f"() => {CHART}.link.gaps.length === 1")
    first = Interval.M1.open_time(Gap.from_json(own.client.xrange(keys.GAPS)[0][1][b"gap"]).from_ms)
    second, after = first + Interval.M1.ms, first + 2 * Interval.M1.ms
    readout = page.locator(".cc-readout")
    point_at(page, second)
    expect(readout.locator(".cc-gap")).to_contain_text(REASON)
    expect(readout.locator(".cc-stand-in")).to_have_count(0)
    point_at(page, first)
    expect(readout.locator(".cc-stand-in")).to_have_text("from the exchange's own history")
    point_at(page, after)
    expect(readout.locator(".cc-gap")).to_have_count(0)
    assert chart(page, "chart.drawing.standIns") == [first]
    page.mouse.move(5, 5)
    page.wait_for_function(f"() => !{CHART}.cross")
    shaded, clear = (
        chart(
            page,
            f"(() => {{ const x = chart.overlay.x({time_ms}); const top = chart.plot._fullLayout.yaxis._offset;"
            " return chart.overlay.context.getImageData(x, top, 1, 1).data[3]; })()",
        )
        for time_ms in (second, after + 60_000)
    )
    assert shaded > 0 and clear == 0


def test_a_gap_that_comes_while_the_page_is_open_is_told_to_the_chart(page: Page, own: Running) -> None:
    open_live(page, own.app.url)
    page.wait_for_function(f"() => {CHART}.link.gaps.length === 1")
    late = Gap("BTC", now_ms() - 3_000, now_ms() - 1_000, "the exchange went away", now_ms())
    own.client.xadd(keys.GAPS, {"gap": late.to_json()})
    # It is read when the next minute closes; a minute of this market is closed by a trade of the next.
    page.wait_for_function(f"() => {CHART}.link.gaps.length === 2", timeout=90_000)


def test_the_pipeline_page_lists_gaps_and_the_agreement(page: Page, own: Running) -> None:
    open_page(page, f"{own.app.url}/pipeline")
    expect(page.get_by_text("Agreement with the exchange: 1,438 of 1,440 minutes.")).to_be_visible()
    gaps = page.locator(".cc-station").first.locator(".cc-figure", has_text="Gaps")
    expect(gaps.locator("b")).to_have_text("1")
    assert gaps.get_attribute("data-health") == "warn"
    page.get_by_text("Gaps in what the feed saw").click()
    expect(page.locator("details[open] [data-testid=stDataFrame]")).to_be_visible()


def test_this_browser_measures_how_long_trades_take_to_its_screen(page: Page, own: Running) -> None:
    open_page(page, f"{own.app.url}/pipeline")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cc-latencies section')].every(part => part.dataset.count >= 3)",
        timeout=60_000,
    )
    for part in page.locator(".cc-latencies section").all():
        expect(part.locator(".cc-quantiles")).to_contain_text("p95")
        counts = part.locator(".cc-bins i").evaluate_all("bars => bars.map(bar => parseInt(bar.title))")
        assert sum(counts) == int(part.get_attribute("data-count") or 0)
    traded, published = page.evaluate(
        f"async () => {{ const module = await import('{own.app.url}/{MODULES_PATH}/latency.js');"
        " return [module.latencies.traded, module.latencies.published]; }"
    )
    # The market publishes a trade of `now`: it is older on the screen than its publishing, if little.
    assert min(traded) >= 0 and min(published) >= 0

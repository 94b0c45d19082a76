"""The Alerts page and the marks on the chart, in a real browser over a real Redis."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from pipeline.alert import Alert, AlertType, Severity
from pipeline.wall_clock import now_ms
from tests.browser.alerting import Still, alert, final, shown
from tests.browser.live import chart, open_live
from tests.browser.running import open_page

HOUR_MS = 3_600_000


def open_alerts(page: Page, still: Still, query: str = "") -> None:
    open_page(page, f"{still.url}/alerts{query}")
    page.wait_for_selector(".cc-alerts[data-count]")


def rows(page: Page) -> Locator:
    return page.locator(".cc-alert-list li")


def wait_for_count(page: Page, count: int) -> None:
    expect(page.locator(".cc-alerts")).to_have_attribute("data-count", str(count))


def row_of(page: Page, wanted: Alert) -> Locator:
    link = f"symbol={wanted.symbol}&at={wanted.window_start_ms}"
    kind = f".cc-alert-list li[data-type={wanted.alert_type.value}]"
    return page.locator(f"{kind}:has(a[href*='{link}'])")


def test_an_injected_alert_comes_to_the_top_of_the_list_by_itself(page: Page, still: Still) -> None:
    old = alert("BTC", AlertType.PRICE_DROP, Severity.LOW, "-5.5", minutes_ago=90)
    still.write(old)
    open_alerts(page, still)
    expect(row_of(page, old)).to_be_visible()
    new = alert("ETH", AlertType.PRICE_SPIKE, Severity.HIGH, "12.3456", minutes_ago=1)
    still.write(new)
    expect(row_of(page, new)).to_be_visible()
    first = rows(page).first
    expect(first).to_have_attribute("data-symbol", "ETH")
    expect(first.locator(".cc-severity")).to_have_text("HIGH")
    expect(first).to_contain_text("+12.35%")
    expect(first).to_contain_text(new.message)
    expect(first.locator("time span")).to_have_text(re.compile("ago|just now"))
    expect(first.locator("time small")).to_have_text(
        datetime.fromtimestamp(new.triggered_at_ms / 1000, UTC).strftime("%H:%M:%S")
    )
    assert first.locator("time").get_attribute("datetime") == (
        datetime.fromtimestamp(new.triggered_at_ms / 1000, UTC).isoformat().replace("+00:00", ".000Z")
    )


def test_the_list_is_what_redis_holds_newest_first(page: Page, still: Still) -> None:
    still.write(
        *(alert("DOGE", AlertType.BREAKOUT, Severity.LOW, "1.5", minutes_ago=ago) for ago in (200, 202))
    )
    open_alerts(page, still)
    expected = shown(still.written())
    wait_for_count(page, len(expected))
    links = rows(page).locator("a").evaluate_all("all => all.map(link => new URL(link.href).search)")
    times = [int(link.partition("&at=")[2]) for link in links]
    assert sorted(times, reverse=True) == sorted((each.window_start_ms for each in expected), reverse=True)
    triggered = rows(page).locator("time").evaluate_all("all => all.map(time => time.dateTime)")
    assert triggered == sorted(triggered, reverse=True)


def test_filters_by_symbol_type_and_severity_stand_in_the_url(page: Page, still: Still) -> None:
    still.write(
        alert("SOL", AlertType.PRICE_SPIKE, Severity.LOW, "5.1", minutes_ago=300),
        alert("SOL", AlertType.PRICE_DROP, Severity.HIGH, "-11", minutes_ago=301),
        alert("SOL", AlertType.VOLUME_SURGE, Severity.MEDIUM, "0.2", minutes_ago=302),
    )
    everything = shown(still.written())
    sol = [each for each in everything if each.symbol == "SOL"]
    open_alerts(page, still, "?of=SOL")
    wait_for_count(page, len(sol))
    page.get_by_role("radio", name="High", exact=True).click()
    wait_for_count(page, sum(each.severity is Severity.HIGH for each in sol))
    assert "severity=High" in page.url or "severity=HIGH" in page.url
    page.get_by_role("radio", name="Low", exact=True).click()
    page.get_by_role("combobox", name="Types").click()
    page.get_by_role("option", name="Price drop").click()
    drops = [each for each in sol if each.alert_type is AlertType.PRICE_DROP]
    wait_for_count(page, len(drops))
    assert "of=SOL" in page.url and "type=" in page.url
    page.reload()
    wait_for_count(page, len(drops))
    assert set(rows(page).evaluate_all("all => all.map(row => row.dataset.type)")) == {"PRICE_DROP"}


def test_filters_that_nothing_fits_say_so(page: Page, still: Still) -> None:
    still.write(alert("BTC", minutes_ago=95))
    open_alerts(page, still, "?of=DOGE&type=Volatility")
    expect(page.locator(".cc-alert-none")).to_contain_text("fits the filters")


def test_the_hours_count_what_redis_holds(page: Page, still: Still) -> None:
    still.write(
        *(alert("SOL", AlertType.VOLATILITY, Severity.MEDIUM, "0", minutes_ago=ago) for ago in (400, 401, 520))
    )
    open_alerts(page, still, "?of=SOL")
    alerts = [each for each in shown(still.written()) if each.symbol == "SOL"]
    wait_for_count(page, len(alerts))
    first_ms = now_ms() // HOUR_MS * HOUR_MS - 23 * HOUR_MS
    expected = Counter(
        (each.triggered_at_ms - first_ms) // HOUR_MS for each in alerts if each.triggered_at_ms >= first_ms
    )
    counts = page.locator(".cc-hour-count").all_inner_texts()
    assert [int(text or 0) for text in counts] == [expected[hour] for hour in range(24)]
    title = page.locator(".cc-hours li").nth(max(expected)).get_attribute("title")
    assert title and re.match(r"From \d\d:00: \d+ alerts?: ", title)


def test_a_provisional_alert_is_marked_and_the_final_one_takes_its_place(page: Page, still: Still) -> None:
    open_alerts(page, still)
    early = alert("DOGE", AlertType.PRICE_DROP, Severity.LOW, "-5.2", minutes_ago=0, provisional=True)
    still.write(early)
    row = row_of(page, early)
    expect(row.locator(".cc-standing")).to_have_text("provisional")
    toast = page.locator(f".cc-toast[data-key='DOGE PRICE_DROP {early.window_start_ms}']")
    expect(toast).to_contain_text("provisional")
    still.write(final(early))
    expect(row.locator(".cc-standing")).to_have_text("")
    expect(row).to_have_count(1)
    expect(toast).not_to_contain_text("provisional")
    expect(toast).to_have_count(1)
    still.write(early)  # heard again, e.g. after a restart of the job: the final word stands
    still.write(alert("DOGE", AlertType.PRICE_SPIKE, Severity.LOW, "5.2", minutes_ago=2))
    expect(page.locator(".cc-toast")).to_have_count(2)
    expect(row.locator(".cc-standing")).to_have_text("")


def test_a_provisional_alert_whose_candle_did_not_keep_the_move_says_so(page: Page, still: Still) -> None:
    gone = alert("ETH", AlertType.PRICE_DROP, Severity.LOW, "-5.2", minutes_ago=3, provisional=True)
    still.write(gone)
    open_alerts(page, still)
    expect(row_of(page, gone).locator(".cc-standing")).to_have_text("not kept")


def test_a_click_leads_to_the_candle_and_leaves_the_newest_one(page: Page, still: Still) -> None:
    wanted = alert("ETH", AlertType.PRICE_DROP, Severity.MEDIUM, "-8", minutes_ago=12)
    still.write(wanted)
    open_alerts(page, still)
    row_of(page, wanted).locator("a").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("ETH / USD")
    page.wait_for_selector(".cc-plot .main-svg")
    page.wait_for_function("() => document.querySelector('.cc-chart')?.chart?.view")
    assert f"at={wanted.window_start_ms}" in page.url and "symbol=ETH" in page.url
    low, high = chart(page, "chart.view")
    assert abs((low + high) / 2 - wanted.window_start_ms) < 1_000
    assert chart(page, "chart.window.following") is False
    still.market.trade("ETH")
    page.wait_for_function("() => document.querySelector('.cc-chart').chart.counts.ticks > 0")
    assert chart(page, "chart.view") == [low, high]


def test_a_link_to_a_candle_opens_there_and_another_market_starts_at_its_newest(
    page: Page, still: Still
) -> None:
    at_ms = now_ms() // 60_000 * 60_000 - 20 * 60_000
    open_live(page, f"{still.url}/?symbol=SOL&at={at_ms}")
    low, high = chart(page, "chart.view")
    assert abs((low + high) / 2 - at_ms) < 1_000
    page.get_by_role("combobox", name="Symbol").click()
    page.get_by_role("option", name="BTC").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("BTC / USD")
    page.wait_for_function(
        "() => document.querySelector('.cc-chart').chart.series.symbol === 'BTC'"
        " && document.querySelector('.cc-chart').chart.window.following"
    )
    page.wait_for_url(lambda url: "at=" not in url)


def test_a_link_to_no_time_says_so_and_shows_the_newest_candle(page: Page, still: Still) -> None:
    open_live(page, f"{still.url}/?symbol=SOL&at=yesterday")
    expect(page.get_by_text("at='yesterday' is no time")).to_be_visible()
    assert chart(page, "chart.window.following") is True


def test_alerts_are_marked_on_their_candles_with_words(page: Page, still: Still) -> None:
    up = alert("BTC", AlertType.PRICE_SPIKE, Severity.HIGH, "10.5", minutes_ago=9)
    down = alert("BTC", AlertType.PRICE_DROP, Severity.LOW, "-5.5", minutes_ago=15)
    other = alert("SOL", AlertType.PRICE_DROP, Severity.LOW, "-5.5", minutes_ago=17)
    still.write(up, down, other)
    open_live(page, f"{still.url}/?symbol=BTC")
    marks = {
        each.window_start_ms: page.locator(f".cc-mark[data-time='{each.window_start_ms}']")
        for each in (up, down)
    }
    expect(marks[up.window_start_ms]).to_have_attribute(
        "aria-label", re.compile(r"HIGH price spike \+10\.50% at")
    )
    expect(marks[down.window_start_ms]).to_have_attribute("aria-label", re.compile("LOW price drop"))
    expect(page.locator(f".cc-mark[data-time='{other.window_start_ms}']")).to_have_count(0)
    expect(page.locator(".cc-marks")).to_have_attribute("aria-label", re.compile(r"in view: \d"))
    for each in (up, down):
        box = marks[each.window_start_ms].bounding_box()
        assert box
        x = chart(
            page,
            f"chart.stage.getBoundingClientRect().left + chart.plot._fullLayout.xaxis._offset"
            f" + chart.plot._fullLayout.xaxis.l2p({each.window_start_ms})",
        )
        assert box["x"] + box["width"] / 2 == pytest.approx(x, abs=1.5)
    words = marks[up.window_start_ms].locator(".cc-mark-words")
    expect(words).to_be_hidden()
    marks[up.window_start_ms].focus()
    expect(words).to_be_visible()
    expect(words).to_contain_text(up.message)


def test_marks_move_with_the_chart_and_new_ones_appear(page: Page, still: Still) -> None:
    old = alert("SOL", AlertType.PRICE_SPIKE, Severity.LOW, "5.5", minutes_ago=11)
    still.write(old)
    open_live(page, f"{still.url}/?symbol=SOL")
    mark = page.locator(f".cc-mark[data-time='{old.window_start_ms}']")
    before = mark.bounding_box()
    page.locator(".cc-stage").focus()
    page.keyboard.press("+")
    page.wait_for_function(
        "([time, x]) =>"
        " document.querySelector(`.cc-mark[data-time='${time}']`).getBoundingClientRect().x !== x",
        arg=[old.window_start_ms, before["x"] if before else 0],
    )
    new = alert("SOL", AlertType.BREAKOUT, Severity.MEDIUM, "2", minutes_ago=4)
    still.write(new)
    expect(page.locator(f".cc-mark[data-time='{new.window_start_ms}']")).to_be_visible()


def test_the_page_fits_a_phone(page: Page, still: Still) -> None:
    still.write(alert("BTC", AlertType.VOLUME_SURGE, Severity.HIGH, "1", minutes_ago=2))
    page.set_viewport_size({"width": 390, "height": 844})
    open_alerts(page, still)
    expect(rows(page).first).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    for part in (".cc-severity", ".cc-alert-what b", ".cc-alert-message", "time"):
        box = rows(page).first.locator(part).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390, part

from dashboard.export import candles_csv
from pipeline.candle import CSV_HEADER, Candle, candle_json
from pipeline.market import Interval


def test_the_csv_keeps_digits_that_a_float_would_lose() -> None:
    prices = ("0.1", "12345678901.0000000001", "0.1", "0.2")
    numbers = (*prices, "1.00000001", "123456789.000000000000000001", "0.5")
    text = candle_json(
        "BTC", Interval.M1, 1_700_000_040_000, *numbers,
        trade_count=3, is_closed=True, epoch=1, seq=1, published_at_ms=1,
    )  # fmt: skip
    header, row, end = candles_csv([text]).split("\n")
    assert header == ",".join(CSV_HEADER) and end == ""
    assert row == "BTC,1m,1700000040000," + ",".join(numbers) + ",3"
    assert Candle.from_json(text).csv_row() == row.split(",")

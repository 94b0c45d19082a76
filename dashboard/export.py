"""Closed candles as a CSV file, with the exchange's own digits: the browser's floats would not do."""

from __future__ import annotations

import csv
import io
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from dashboard.services import services
from pipeline.candle import CSV_HEADER, Candle
from pipeline.errors import InvalidTrade
from pipeline.market import Interval, check_symbol
from pipeline.retry import RETRYABLE

_MOST: Final = 100_000


def candles_csv(candles: list[str]) -> str:
    """``candles`` (JSON, oldest first) as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    writer.writerows(Candle.from_json(candle).csv_row() for candle in candles)
    return text.getvalue()


def _export(request: Request) -> Response:
    try:
        symbol = check_symbol(request.path_params["symbol"])
        interval = Interval(request.query_params.get("interval", "1m"))
        limit = int(request.query_params.get("limit", "10080"))
    except (ValueError, InvalidTrade) as error:
        return PlainTextResponse(f"{error}\n", 400)
    if not 1 <= limit <= _MOST:
        return PlainTextResponse(f"limit={limit}: must be from 1 to {_MOST}\n", 400)
    try:
        text = candles_csv(services().store.history(symbol, interval, limit))
    except RETRYABLE as error:
        return PlainTextResponse(f"history cannot be read at the moment: {error}\n", 503)
    name = f"{symbol}-{interval.value}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text, media_type="text/csv", headers=headers)


def routes() -> list[BaseRoute]:
    """``GET /export/{symbol}.csv?interval=&limit=``, for st.App."""
    return [Route("/export/{symbol}.csv", _export)]

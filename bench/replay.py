"""A file replay end to end: ``python -m pipeline replay`` on 2,000,000 trades, read to exported candles.

The file has 50 symbols and 5,000 trades a second of event time, plain text. The rate is counted
from the job's first fold to the end of the export; ``start_s`` is what comes before it. Median of
three runs.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from pathlib import Path

from bench import simulated
from pipeline.cli.progress import Progress
from pipeline.cli.replay_run import ReplayRun, Summary
from pipeline.market import PRICE_DECIMALS, QUANTITY_DECIMALS, decimal_text
from pipeline.settings import Settings

_TRADES = 2_000_000
_RUNS = 3


def run() -> dict[str, float | int | str]:
    """Trades a second, and seconds."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-") as folder:
        file = Path(folder) / "trades.csv"
        _write(file)
        summaries = [_replay(file, Path(folder) / "candles.csv") for _ in range(_RUNS)]
    rates = [_TRADES / (summary.total_s - summary.start_s) for summary in summaries]
    return {
        "trades": _TRADES,
        "candles": summaries[0].candles,
        "replay_trades_per_s": round(statistics.median(rates)),
        "start_s": round(statistics.median(summary.start_s for summary in summaries), 1),
        "total_s": round(statistics.median(summary.total_s for summary in summaries), 1),
    }


def _replay(file: Path, export: Path) -> Summary:
    with ReplayRun(Settings(), [file], []) as replay:
        return replay.play(None, Progress(io.StringIO()), export)


def _write(file: Path) -> None:
    with file.open("w") as out:
        out.write("exchange,symbol,trade_id,event_time_ms,price,quantity,side,exec_type\n")
        for time_ms, trade_id, price, quantity, symbol, side in simulated.trades(_TRADES, 5_000).tolist():
            out.write(
                f"bench,{simulated.SYMBOLS[symbol]},{trade_id},{time_ms},{decimal_text(price, PRICE_DECIMALS)},"
                f"{decimal_text(quantity, QUANTITY_DECIMALS)},{'buy' if side else 'sell'},\n"
            )

"""``python -m pipeline replay``: recorded trades through a Redis and a job of their own, candles out."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from pipeline.cli.progress import Progress
from pipeline.cli.replay_run import ReplayRun, Summary
from pipeline.errors import SettingsError
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, filters, speed, export."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV of trades, plain or .gz")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        type=_column_and_value,
        metavar="COLUMN=VALUE",
        help="play only the rows that have this value in this column; may be given again",
    )
    parser.add_argument(
        "--speed",
        default=None,
        type=_speed,
        help="max (default), or how many times as fast as it happened: 1, 10, 0.5",
    )
    parser.add_argument("--export", type=Path, metavar="CANDLES.csv", help="write all closed candles there")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Exit code 0 once every trade is folded and every candle exported."""
    if options.export is not None:
        _check_export(options.export)
    progress = Progress()
    try:
        with ReplayRun(settings, options.files, options.where) as replay:
            summary = replay.play(options.speed, progress, options.export)
    finally:
        progress.end()
    print(_text(summary, options.export))
    return 0


def _check_export(path: Path) -> None:
    """SettingsError now, and not after an hour of replay."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise SettingsError(f"--export {path}: there is no such folder")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"--export {path}: cannot be written")


def _column_and_value(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE")
    return column, value


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is neither max nor a number above zero")
    return speed


def _text(summary: Summary, export: Path | None) -> str:
    played = summary.played
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in sorted(played.rejected.items()))
    lines = [
        f"trades    {played.trades:,} played, {played.duplicates:,} left out as duplicates",
        f"rejected  {sum(played.rejected.values()):,}{f' ({rejected})' if rejected else ''}",
        *(f"          {origin}: {reason}" for origin, reason in summary.examples),
        f"late      {summary.late:,}",
        f"candles   {summary.candles:,} closed{f', written to {export}' if export else ''}",
        f"time      {summary.total_s:.1f} s, of it {summary.start_s:.1f} s until the job had started",
    ]
    if summary.lost:
        lines.insert(3, f"lost      {summary.lost:,} entries were trimmed before the job had read them")
    if summary.job_restarts:
        lines.append(f"job       restarted {summary.job_restarts} time(s)")
    return "\n".join(lines)

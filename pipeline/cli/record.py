"""``python -m pipeline record``: live trades into a file that ``replay`` plays."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from pipeline.cli.feed import overridden
from pipeline.errors import SettingsError
from pipeline.feed.exchange.recorder import record
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where from, where to."""
    parser.add_argument("--source", required=True, metavar="exchange:NAME", help="the exchange, or NAME,NAME")
    parser.add_argument("--symbols", metavar="BTC,ETH", help="default: SYMBOLS")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="CSV; compressed if it ends in .gz"
    )
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long (default: at Ctrl-C)")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Record until Ctrl-C, SIGTERM or the end of --seconds. Exit code 1 if nothing came."""
    settings = overridden(options, settings)
    kind, _, exchanges = settings.feed.partition(":")
    if kind != "exchange":
        raise SettingsError(f"--source {options.source}: only exchange:NAME can be recorded")
    folder = options.out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"--out {options.out}: there is no folder {folder} that can be written")
    if options.out.exists():
        raise SettingsError(f"--out {options.out}: is there already; recordings are not written over")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.seconds is not None:
        timer = threading.Timer(options.seconds, stop.set)
        timer.daemon = True
        timer.start()
    done = record(settings, exchanges.split(","), options.out, stop, lambda line: print(line, file=sys.stderr))
    print(f"{done.trades:,} trades, {done.rejected:,} rejected, {done.gaps:,} gaps, in {options.out}")
    return 0 if done.trades else 1

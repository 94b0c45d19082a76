"""``python -m pipeline feed``."""

from __future__ import annotations

import argparse
import os

from pipeline.feed import run as feed
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What else the settings say, for this run alone."""
    parser.add_argument("--source", metavar="FEED", help="auto, simulator, exchange:NAME,… or replay:FILE")
    parser.add_argument("--symbols", metavar="BTC,ETH", help="symbols to carry; BTC@kraken is of one exchange")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Blocks until SIGTERM or SIGINT, or until the feed has ended."""
    feed.run(overridden(options, settings))
    return 0


def overridden(options: argparse.Namespace, settings: Settings) -> Settings:
    """``settings`` with --source as FEED and --symbols as SYMBOLS, read by the same rules. SettingsError."""
    given = {"FEED": options.source, "SYMBOLS": options.symbols}
    chosen = {variable: text for variable, text in given.items() if text}
    return Settings.from_env({**os.environ, **settings.to_env(), **chosen}) if chosen else settings

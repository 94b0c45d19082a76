"""``python -m pipeline tail``."""

from __future__ import annotations

import argparse

import redis

from pipeline.cli.connection import connected
from pipeline.errors import SettingsError
from pipeline.feed import tail
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which stream, how many, and whether to go on."""
    parser.add_argument("--shard", type=int, default=0, help="number of the trade stream (default 0)")
    parser.add_argument("--last", type=int, default=10, help="how many of the newest entries (default 10)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what comes, until Ctrl-C")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Print the entries. Without --follow, return at the end."""
    if not 0 <= options.shard < settings.shards:
        raise SettingsError(f"--shard {options.shard}: SHARDS={settings.shards} has shards from 0 on")
    if options.last < 0:
        raise SettingsError(f"--last {options.last}: must not be negative")
    with connected(settings) as client:
        try:
            tail.tail(client, options.shard, options.follow, last=options.last)
        except redis.ConnectionError as error:
            raise SettingsError(f"Redis went away: {error}") from None
    return 0

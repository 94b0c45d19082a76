"""``python -m pipeline feed``."""

from __future__ import annotations

import argparse

from pipeline.feed import run as feed
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the settings say it all."""


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Blocks until SIGTERM or SIGINT, or until the feed has ended."""
    feed.run(settings)
    return 0

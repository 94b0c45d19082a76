"""Whether the feed that FEED names can run at all: asked before anything is started, or written over."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputFileError, SettingsError


def check_feed(feed: str) -> None:
    """SettingsError, naming FEED, where it is a replay of a file that is absent or no trade file."""
    kind, _, file = feed.partition(":")
    if kind != "replay":
        return
    from pipeline.feed.tape import Tape  # noqa: PLC0415  pyarrow, which no other feed needs

    try:
        Tape([Path(file)], (), 0)
    except InputFileError as error:
        raise SettingsError(f"FEED={feed}: {error}") from None

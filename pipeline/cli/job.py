"""``python -m pipeline job``."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from pathlib import Path

from pipeline.embedded import flink_folder
from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the settings say it all."""


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Blocks until the job ends."""
    if "FLINK_CONF_DIR" in os.environ:  # the embedded run, or somebody who knows what they want
        return _run(settings)
    with tempfile.TemporaryDirectory(prefix="candlecast-flink-", ignore_cleanup_errors=True) as folder:
        os.environ.update(flink_folder.prepare(Path(folder), os.environ))
        return _run(settings)


def _run(settings: Settings) -> int:
    # Imported now: pyflink takes a second, and reads the variables that were just set.
    importlib.import_module("pipeline.job").run(settings)
    return 0

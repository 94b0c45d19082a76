"""``python -m pipeline settings``: the README's table, from the settings themselves."""

from __future__ import annotations

import argparse
from dataclasses import fields

from pipeline.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Print the table of defaults."""
    print(table())
    return 0


def table() -> str:
    """Every setting with its default, as Markdown."""
    defaults = Settings().to_env()
    rows = []
    for variable, help in ((field.metadata["variable"], field.metadata["help"]) for field in fields(Settings)):
        default = f"`{defaults[variable]}`" if variable in defaults else "unset"
        rows.append(f"| `{variable}` | {default} | {help} |")
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])

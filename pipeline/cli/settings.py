"""``python -m pipeline settings``: what can be set, from the settings themselves.

README.md holds the table and .env.example the same as variables; a test holds both equal to this.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from pipeline.errors import InputFileError
from pipeline.settings import Settings

_HOME: Final = Path(__file__).resolve().parents[2]
_HEAD: Final = ("| variable | default | meaning |", "| --- | --- | --- |")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which form."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="the README's table (the default)")
    form.add_argument("--env", action="store_true", help="as .env.example")
    form.add_argument("--write", action="store_true", help="put both into README.md and .env.example")


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Print the defaults, or write them where they stand."""
    if options.write:
        readme = _HOME / "README.md"
        readme.write_text(with_table(readme.read_text()))
        (_HOME / ".env.example").write_text(env_example())
    else:
        print(env_example() if options.env else table(), end="" if options.env else "\n")
    return 0


def table() -> str:
    """Every setting with its default, as Markdown."""
    rows = (
        f"| `{variable}` | {'unset' if default is None else f'`{default}`' if default else 'none'} | {help} |"
        for variable, default, help in _settings()
    )
    return "\n".join([*_HEAD, *rows])


def env_example() -> str:
    """Every setting with its default, commented out, as a file that Docker Compose and shells read."""
    parts = [
        "# Copy to .env and take the # off what you change. Docker Compose reads .env by itself;",
        "# elsewhere: set -a; . ./.env; set +a. Made by: python -m pipeline settings --write",
    ]
    parts += [f"\n# {help}\n#{variable}={default or ''}" for variable, default, help in _settings()]
    return "\n".join(parts) + "\n"


def with_table(readme: str) -> str:
    """``readme`` with its table of settings made anew. InputFileError where it has none."""
    start = readme.find("\n".join(_HEAD))
    if start < 0:
        raise InputFileError("README.md: has no table of settings to replace")
    end = readme.find("\n\n", start)
    return readme[:start] + table() + readme[end:]


def _settings() -> Iterator[tuple[str, str | None, str]]:
    """Variable, default (None: unset), help."""
    defaults = Settings().to_env()
    for setting in fields(Settings):
        variable = setting.metadata["variable"]
        yield variable, defaults.get(variable), setting.metadata["help"]

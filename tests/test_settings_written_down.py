"""What README.md and .env.example say of the settings is what settings.py says."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from pipeline.cli import settings as command
from pipeline.errors import InputFileError
from pipeline.settings import Settings
from tests.test_import_rules import ROOT

AGAIN = "python -m pipeline settings --write"


def test_the_readmes_table_is_the_settings() -> None:
    assert command.table() in (ROOT / "README.md").read_text(), AGAIN


def test_the_example_of_an_environment_is_the_settings() -> None:
    assert (ROOT / ".env.example").read_text() == command.env_example(), AGAIN


def test_the_example_read_as_an_environment_gives_the_defaults() -> None:
    lines = command.env_example().splitlines()
    variables = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    assert set(variables) == {setting.metadata["variable"] for setting in fields(Settings)}
    assert Settings.from_env(variables) == Settings()


def test_a_table_in_a_text_is_replaced_and_the_text_around_it_stays() -> None:
    text = "before\n\n| variable | default | meaning |\n| --- | --- | --- |\n| `OLD` | `1` | gone |\n\nafter\n"
    assert command.with_table(text) == f"before\n\n{command.table()}\n\nafter\n"


def test_a_text_without_a_table_is_refused() -> None:
    with pytest.raises(InputFileError, match="no table of settings"):
        command.with_table("no table here\n")

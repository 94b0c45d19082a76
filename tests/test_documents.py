"""What the documents name exists: files, modules, links, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_import_rules import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "chaos").glob("*.md")]
PATH = re.compile(r"`((?:pipeline|dashboard|pages|tests|bench|docs|chaos|bin)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def test_the_diagram_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    diagram = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert diagram
    named = set(re.findall(r"[\w/]+\.(?:py|js)|\b\w+/(?=[:, ])", diagram[1]))
    assert len(named) > 12
    homes = (ROOT / "pipeline", ROOT, ROOT / "dashboard" / "assets")
    assert not [name for name in named if not any((home / name).exists() for home in homes)]


def test_every_module_of_the_way_of_the_data_is_in_the_architecture() -> None:
    """A module directly in pipeline/ is named there, or by the module it serves, in job.md."""
    told = (ROOT / "docs" / "architecture.md").read_text() + (ROOT / "docs" / "job.md").read_text()
    steps = ("source", "intake", "fold", "rollup", "sink", "candle_writer", "store", "subscriber", "hub", "job")
    assert not [step for step in steps if f"{step}.py" not in told]


@every_document
def test_the_paths_in_a_document_exist(document: Path) -> None:
    assert not [path for path in PATH.findall(document.read_text()) if not (ROOT / path).exists()]


@every_document
def test_the_links_in_a_document_lead_somewhere(document: Path) -> None:
    assert not [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()]


@every_document
def test_the_make_targets_in_a_document_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for line in targets for name in line.split()}
    named = set(re.findall(r"(?:^|[` ])make ([a-z-]+)(?=[`\s#])", document.read_text(), re.MULTILINE))
    prose = {"it", "a", "the", "one", "no", "up", "sure", "this", "them", "polls", "which", "two"}
    assert not named - known - prose

"""Pickles run code when they are read: they are, where only our own checkpoints and operators write."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"rollup.py", "past.py", "source.py", "shard_reader.py", "alerts/watch.py"}
"""Each reads keyed state of Flink, or what the operator before it has sent. A new name here needs a reason."""
DANGEROUS = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_pickles_are_read_by_the_jobs_own_functions_only() -> None:
    files = [path for folder in ("pipeline", "dashboard", "pages") for path in (ROOT / folder).rglob("*.py")]
    readers = {str(path.relative_to(ROOT / "pipeline")) for path in files if imported(path) & DANGEROUS}
    assert readers == ALLOWED

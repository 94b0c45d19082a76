"""Holds what pipeline/__init__.py says about who may import whom, by reading the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    *sorted(
        path
        for folder in ("pipeline", "dashboard", "pages", "bench", "chaos")
        for path in (ROOT / folder).rglob("*.py")
    ),
    ROOT / "app.py",
]
OURS = {"pipeline", "dashboard", "pages", "bench", "chaos", "app", "tests"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every module that ``path`` imports anywhere in it, also inside functions, by its full name."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*base, node.module or ""]).strip(".")
            for alias in node.names:
                # `from pipeline import keys` imports pipeline.keys; `from pipeline.keys import X` does not.
                inner = ROOT / Path(*target.split(".")) / alias.name
                yield (
                    f"{target}.{alias.name}" if inner.with_suffix(".py").exists() or inner.is_dir() else target
                )


def ours(path: Path) -> set[str]:
    return {name for name in imports_of(path) if name.split(".")[0] in OURS}


def theirs(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)} - OURS


def pipeline(name: str) -> Path:
    return ROOT / "pipeline" / f"{name}.py"


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("errors", set()),
        ("keys", set()),
        ("market", {"pipeline.errors"}),
        ("candle", {"pipeline.errors", "pipeline.market"}),
        ("alert", {"pipeline.errors", "pipeline.market"}),
        ("settings", {"pipeline.errors", "pipeline.market"}),
        ("fold", {"pipeline.market"}),
    ],
)
def test_the_nouns_and_the_fold_stand_on_their_own(module: str, allowed: set[str]) -> None:
    assert ours(pipeline(module)) <= allowed


def test_the_fold_knows_no_input_output_no_clock_and_no_flink() -> None:
    forbidden = {"pyflink", "redis", "time", "datetime", "os", "socket", "subprocess", "threading", "random"}
    assert not theirs(pipeline("fold")) & forbidden


def test_only_job_source_and_sink_import_pyflink() -> None:
    users = {module_name(path) for path in SOURCES if "pyflink" in theirs(path)}
    wiring = {"pipeline.job", "pipeline.source", "pipeline.sink", "pipeline.rollup"}
    assert {name for name in users if not name.startswith(("bench", "chaos"))} <= wiring
    assert "pipeline.job" in users, "the reader of imports has gone blind"


def test_only_the_dashboard_imports_streamlit() -> None:
    users = {module_name(path) for path in SOURCES if "streamlit" in theirs(path)}
    assert all(name.split(".")[0] in {"app", "pages", "dashboard", "bench"} for name in users)
    assert "app" in users, "the reader of imports has gone blind"


def test_the_pipeline_never_imports_the_dashboard() -> None:
    for path in SOURCES:
        if module_name(path).startswith("pipeline"):
            wrong = {name for name in ours(path) if name.split(".")[0] != "pipeline"}
            assert not wrong, path


def test_the_chart_imports_only_the_market_and_the_candle_of_ours_and_does_no_input_or_output() -> None:
    chart = ROOT / "dashboard" / "chart.py"
    assert {name for name in ours(chart) if name.startswith("pipeline")} <= {
        "pipeline.market",
        "pipeline.candle",
    }
    assert not theirs(chart) & {"redis", "streamlit", "socket", "os", "subprocess", "threading"}


def test_no_module_beside_the_shell_hides_one_of_pythons() -> None:
    # Streamlit puts the shell's folder first on the path: `import statistics`, anybody's, would find ours.
    assert not {path.stem for path in (ROOT / "dashboard").iterdir()} & sys.stdlib_module_names


MODULES = [
    module_name(path)
    for path in SOURCES
    if module_name(path).startswith("pipeline") and path.name != "__main__.py"
]


def test_importing_any_module_connects_to_nothing_and_starts_nothing() -> None:
    # One fresh interpreter that reports every socket and process which an import would make.
    program = """
import importlib, sys
seen = []
def hook(event, arguments):
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.posix_spawn",
                 "_thread.start_new_thread"}:
        seen.append((event, module))
sys.addaudithook(hook)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(seen)
"""
    done = subprocess.run(  # noqa: PLW1510  the assertion below shows stderr
        [sys.executable, "-c", program, *MODULES], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_feed_and_the_light_subcommands_do_not_import_pyflink_or_streamlit() -> None:
    program = "import sys, importlib; [importlib.import_module(m) for m in sys.argv[1:]]; print(*sys.modules)"
    light = [
        "pipeline.cli",
        "pipeline.embedded",
        *(f"pipeline.cli.{name}" for name in ("feed", "status", "tail", "replay", "settings")),
    ]
    done = subprocess.run(  # noqa: PLW1510  the assertion below shows stderr
        [sys.executable, "-c", program, *light], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"pyflink", "streamlit", "pandas", "apache_beam"}

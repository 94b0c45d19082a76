"""What we import is what we require, pinned; and what is pinned is what is frozen."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.test_import_rules import OURS, ROOT, SOURCES, theirs

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[\w+\])?==(?P<version>[\w.]+)\s*(?P<reason># .+)?")
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HELPERS = {path.stem for path in TESTS} | {"integration", "browser"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    """Package -> version of the lines that name a package; each line must be a pin."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        if line.strip() and not line.startswith(("#", "-", ".")):
            pin = PIN.fullmatch(line.strip())
            assert pin, f"{file}: {line!r} is no exact pin"
            found[normal(pin["name"])] = pin["version"]
    return found


def packages_of(sources: list[Path]) -> dict[str, Path]:
    """Distribution -> a file that imports it."""
    distributions = metadata.packages_distributions()
    found: dict[str, Path] = {}
    for path in sources:
        for module in theirs(path) - sys.stdlib_module_names - HELPERS - OURS:
            assert module in distributions, f"{path}: {module} is not installed"
            found |= {normal(name): path for name in distributions[module] if name != "apache-flink-libraries"}
    return found


def test_everything_that_is_imported_is_required_by_name() -> None:
    required = pins("requirements.txt")
    run = {path for path in SOURCES if not {"bench", "chaos"} & set(path.relative_to(ROOT).parts)}
    for package, path in packages_of(sorted(run)).items():
        assert package in required, f"{path} imports {package}"


def test_everything_that_tests_and_benchmarks_import_is_required_by_name() -> None:
    required = pins("requirements.txt") | pins("requirements-dev.txt")
    for package, path in packages_of([*SOURCES, *TESTS]).items():
        assert package in required, f"{path} imports {package}"


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_its_reason_and_is_frozen_at_its_version(file: str) -> None:
    frozen = pins("constraints.txt")
    for line in (ROOT / file).read_text().splitlines():
        if pin := PIN.fullmatch(line.strip()):
            assert pin["reason"], f"{line}: why?"
            assert frozen[normal(pin["name"])] == pin["version"]


def test_what_is_installed_is_what_is_frozen() -> None:
    for package, version in pins("constraints.txt").items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # one of another platform
        assert installed == version, package

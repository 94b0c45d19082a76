"""docker-compose.yml, Dockerfile and .dockerignore, as far as they can be held without a Docker engine."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from pipeline.cli import _parser
from tests.test_import_rules import ROOT

COMPOSE: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_file_follows_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def test_a_wrong_word_in_the_file_would_be_noticed() -> None:
    schema = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
    wrong = COMPOSE | {"services": {"redis": SERVICES["redis"] | {"healthchek": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="healthchek"):
        jsonschema.validators.validator_for(schema)(schema).validate(wrong)


def test_there_is_a_service_for_each_process() -> None:
    assert set(SERVICES) == {"redis", "jobmanager", "taskmanager", "job", "feed", "dashboard", "webhook"}


@every_service
def test_a_service_is_checked_restarted_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@every_service
def test_a_service_names_the_exact_version_of_its_image(name: str) -> None:
    assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+(-\w+)?", SERVICES[name]["image"])


def test_our_image_has_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {service["image"] for service in SERVICES.values() if "build" in service}
    assert ours == {f"candlecast:{version}"}


@every_service
def test_what_is_published_is_published_to_this_machine_alone(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_alerts_are_sent_out_only_where_it_is_asked_for() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"webhook"}


def test_redis_and_the_feed_publish_nothing() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"jobmanager", "dashboard"}


@every_service
def test_every_volume_has_a_name(name: str) -> None:
    volumes = [volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])]
    assert set(volumes) <= set(COMPOSE["volumes"])


def test_what_flink_saves_is_seen_by_all_that_must_read_it() -> None:
    assert {name for name, service in SERVICES.items() if "flink:/data" in service.get("volumes", [])} == {
        "jobmanager",
        "taskmanager",
        "job",
    }


@every_service
def test_nobody_waits_for_what_has_not_been_checked(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert wait == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@every_service
def test_our_commands_are_those_of_our_command_line(name: str) -> None:
    lines = [SERVICES[name]["command"], SERVICES[name]["healthcheck"]["test"][1:]]
    for line in lines:
        if line[:3] == ["python", "-m", "pipeline"]:
            _parser(line[3:]).parse_args(line[3:])  # exits where it is none


def test_the_images_python_is_one_that_the_project_runs_on() -> None:
    bases = re.findall(r"^FROM python:(\d+)\.(\d+)\.\d+-slim-\w+(?: AS \w+)?$", DOCKERFILE, re.MULTILINE)
    assert len(bases) == DOCKERFILE.count("FROM ")
    assert set(bases) <= {("3", "11"), ("3", "12")}


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert "0" not in users[-1]
    assert SERVICES["redis"]["user"] == "redis"


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_what_reaches_the_builder() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)
    assert any(fnmatch.fnmatch("pipeline/__pycache__", rule) for rule in rules if rule.startswith("**"))


def test_the_dashboard_and_the_pipeline_need_nothing_that_the_image_lacks() -> None:
    """Each top-level name of ours that app.py, pages/, dashboard/ or pipeline/ imports is in the image."""
    from tests.test_import_rules import SOURCES, ours  # noqa: PLC0415

    inside = {"app", "pages", "dashboard", "pipeline"}
    for path in SOURCES:
        if path.relative_to(ROOT).with_suffix("").parts[0] in inside:
            assert {name.split(".")[0] for name in ours(path)} <= inside, path

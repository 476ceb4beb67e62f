"""The lock pins everything: what is asked for, what that asks for, and nothing by address."""

import re
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from data.workspace import PROJECT_ROOT


def _pins(name: str) -> dict[str, str]:
    lines = (PROJECT_ROOT / name).read_text().splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines]
    return dict(_pin(line) for line in wanted if line)


def _pin(line: str) -> tuple[str, str]:
    match = re.fullmatch(r"([\w.-]+)==([\w.]+)", line)
    assert match, f"{line!r} is no plain pin"
    return canonicalize_name(match[1]), match[2]


def test_the_lock_holds_every_direct_dependency() -> None:
    lock = _pins("requirements.lock")
    assert {name: lock.get(name) for name in _pins("requirements.in")} == _pins("requirements.in")


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_lock_holds_what_its_packages_need(python: str) -> None:
    """By the installed packages' own metadata; CUDA libraries, which torch pins itself, stand outside."""
    lock = _pins("requirements.lock")
    environment = default_environment() | {"python_version": python, "python_full_version": f"{python}.9"}
    lacking = []
    for name in lock:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({**environment, "extra": ""}):  # type: ignore[dict-item]
                continue
            pin = lock.get(canonicalize_name(needed.name))
            if pin is None and not (name == "torch" and needed.name.startswith(("nvidia", "cuda", "triton"))):
                lacking.append(f"{name} needs {line}")
            elif pin is not None and not needed.specifier.contains(pin, prereleases=True):
                lacking.append(f"{name} needs {line}, the lock has {pin}")
    assert lacking == []


def test_the_environment_is_the_locks() -> None:
    lock = _pins("requirements.lock")
    installed = {name: Version(metadata.version(name)).public for name in lock}
    assert installed == {name: Version(version).public for name, version in lock.items()}

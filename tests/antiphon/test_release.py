"""A release: an sdist that builds, a wheel that installs in an empty environment, extras that resolve."""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import antiphon

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

# Imports everything; what is missing must be a package of an extra.
IMPORT_ALL = """
import importlib, json, pkgutil
import antiphon
missing, count = set(), 0
for module in pkgutil.walk_packages(antiphon.__path__, "antiphon.", onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue  # a program, not a module
    try:
        importlib.import_module(module.name)
        count += 1
    except ImportError as error:
        # Some say in their own words which extra is needed.
        missing.add((error if isinstance(error, ModuleNotFoundError) else error.__cause__).name.partition(".")[0])
bare = [name for name in ("actors", "protocol", "tests", "benchmarks") if importlib.util.find_spec(name)]
print(json.dumps({"count": count, "missing": sorted(missing), "bare": bare}))
"""
OF_EXTRAS = {
    "typer", "rich", "click", "websockets", "webrtcvad", "pocketsphinx", "hibari", "sounddevice", "PIL", "yaml",
    "opentelemetry", "soundfile",
}  # fmt: skip


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from what git tracks; the wheel from the sdist."""
    tree = tmp_path_factory.mktemp("tree")
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        source, target = ROOT / name, tree / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    run(sys.executable, "-m", "build", "--outdir", "dist", cwd=tree)
    return tree / "dist"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty environment."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    return folder / "bin" / "python"


def test_the_wheel_holds_the_three_floors_and_their_data_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"antiphon", f"antiphon-{antiphon.__version__}.dist-info"}
    for needed in ("antiphon/actors/engine.py", "antiphon/protocol/base.py", "antiphon/py.typed"):
        assert needed in names
    assert any(name.startswith("antiphon/report/page/") and name.endswith(".js") for name in names)
    assert any(name.endswith(".toml") for name in names)


def test_the_wheel_works_in_an_empty_environment(dist: Path, python: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    found = json.loads(run(python, "-I", "-c", IMPORT_ALL, cwd=tmp_path))
    assert found["bare"] == []
    assert found["count"] > 100
    assert set(found["missing"]) <= OF_EXTRAS


def test_all_extras_resolve_together(dist: Path, python: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = ",".join(config["options.extras_require"])
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        f"antiphon[{extras}] @ {wheel.as_uri()}",
        cwd=tmp_path,
    )

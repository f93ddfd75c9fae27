"""Is what we ship whole? The wheel, its version, its changelog and the verbs that the README names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from maia_sync import __version__

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel once, by the build backend itself: no isolation, no network."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-c", BUILD, str(folder), cwd=ROOT)
    return zipfile.ZipFile(folder / built.stdout.split()[-1])


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_wheel_holds_everything_that_runs_without_a_checkout(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    expected = {"maia_sync/py.typed", "maia_sync/config.example.toml", "maia_sync/migrations/env.py"}
    for folder, inside in ((ROOT / "maia_sync", "maia_sync"), (ROOT / "migrations", "maia_sync/migrations")):
        expected |= {f"{inside}/{path.relative_to(folder).as_posix()}" for path in _shipped(folder)}
    assert expected <= names, sorted(expected - names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.startswith("maia_sync/migrations/versions/0001_") for name in names)


def _shipped(folder: Path) -> list[Path]:
    """Return modules, and what they read: statements, templates, styles, scripts, pictures."""
    kinds = ("py", "sql", "html", "css", "js", "svg")
    return [path for kind in kinds for path in folder.rglob(f"*.{kind}")]


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    strays = [
        name
        for name in wheel.namelist()
        if not name.startswith(("maia_sync/", f"maia_sync-{__version__}.dist-info/")) or "__pycache__" in name
    ]
    assert strays == []


def test_the_version_is_written_down_once(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project
    metadata = wheel.read(f"maia_sync-{__version__}.dist-info/METADATA").decode()
    assert message_from_string(metadata)["Version"] == __version__


def test_the_changelog_speaks_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[?(Unreleased|\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    assert headings, "CHANGELOG.md has no version at all"
    assert headings[0] in ("Unreleased", __version__)


def test_the_wheel_alone_makes_a_database_in_an_empty_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "installed")
    empty = tmp_path / "empty"
    empty.mkdir()
    run(
        *(sys.executable, "-W", "error", "-m", "maia_sync", "init"),
        cwd=empty,
        PYTHONPATH=str(tmp_path / "installed"),
    )
    assert (empty / "config.toml").read_bytes() == (ROOT / "config.example.toml").read_bytes()
    assert (empty / "maia_sync.db").is_file()


def test_help_lists_every_verb_that_the_readme_names() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, flags=re.DOTALL))
    named = set(re.findall(r"(?<![\w./-])maia-sync (?:--config \S+ )?([a-z]+)\b", code))
    help_text = run(sys.executable, "-m", "maia_sync", "--help", cwd=ROOT).stdout
    listed = set(re.findall(r"^\s+([a-z]+)\s", help_text, flags=re.MULTILINE))
    assert named, "the README shows no verb"
    assert named <= listed, f"the README names verbs that --help does not list: {sorted(named - listed)}"

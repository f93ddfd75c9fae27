from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest

from maia_sync.config import Settings, load_settings
from maia_sync.config_keys import KEYS

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_the_example_equals_the_defaults() -> None:
    assert load_settings(EXAMPLE, {}) == Settings()


def commented_keys() -> dict[tuple[str, str], str]:
    section, found = "", {}
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif match := re.fullmatch(r"# ([a-z_]+) = (.+)", line):
            found[section, match[1]] = match[2]
    return found


def test_the_example_has_every_key_with_its_default_or_commented() -> None:
    active = {
        (section, key) for section, table in tomllib.loads(EXAMPLE.read_text()).items() for key in table
    }
    assert active.isdisjoint(commented_keys())
    assert sorted(active | set(commented_keys())) == sorted(
        (section, name) for section in KEYS for name in KEYS[section]
    )
    assert set(tomllib.loads(EXAMPLE.read_text())) == set(KEYS) == set(Settings.__struct_fields__)


def test_every_key_of_the_example_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"(# )?[a-z_]+ = ", line):
            assert above.startswith("# "), line
            assert not re.fullmatch(r"# [a-z_]+ = .*", above), line


@pytest.mark.parametrize(("section", "name"), list(commented_keys()))
def test_uncommenting_a_key_of_the_example_works(tmp_path: Path, section: str, name: str) -> None:
    companions: dict[str, dict[str, str]] = {
        "client_id": {"MAIA_SYNC_AUTH__CLIENT_SECRET": "s"},
        "client_secret": {"MAIA_SYNC_AUTH__CLIENT_ID": "c"},
        "client_secret_file": {"MAIA_SYNC_AUTH__CLIENT_ID": "c"},
        "schedule": {"MAIA_SYNC_REPORT__FILE": "report.html"},
        "file": {"MAIA_SYNC_REPORT__SCHEDULE": "1d"},
        "password_file": {"MAIA_SYNC_DATABASE__URL": "postgresql+psycopg://maia@db.example.com/maia"},
    }
    archive = {"MAIA_SYNC_ARCHIVE__URL": "there", "MAIA_SYNC_ARCHIVE__KEY_FILE": "it.key"}
    if name == "retention":
        archive["MAIA_SYNC_ARCHIVE__SCHEDULE"] = "1d"
    text = EXAMPLE.read_text(encoding="utf-8")
    value = commented_keys()[section, name]
    text = text.replace(f"# {name} = {value}", f"{name} = {value}")
    if name == "ca_file":
        (tmp_path / "ca.pem").touch()
        text = text.replace(value, json.dumps(str(tmp_path / "ca.pem")))
    file = tmp_path / "maia.toml"
    file.write_text(text, encoding="utf-8")
    settings = load_settings(file, archive if section == "archive" else companions.get(name, {}))
    assert getattr(getattr(settings, section), name) is not None

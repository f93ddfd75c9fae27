from __future__ import annotations

import json
from typing import TYPE_CHECKING

from maia_sync.cli.screen import print_json, say
from maia_sync.clock import ManualClock

if TYPE_CHECKING:
    import pytest


def test_lines_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b]0;title")
    assert capsys.readouterr().out == "\\u001b]0;title\n"


def test_json_is_one_document_with_iso_datetimes(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({"at": ManualClock().now(), "label": "ü"})
    out = capsysbinary.readouterr().out
    assert json.loads(out) == {"at": "2026-01-01T00:00:00Z", "label": "ü"}

"""Does `decode_page` read the fuzz corpus, the findings of earlier searches among it, as it should?"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from fuzz.judge import FIRST, LAST, judge, judge_body
from fuzz.respelling import respell

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_the_corpus_is_read_right(path: Path) -> None:
    judge(path.read_bytes())


def test_what_the_fuzzer_makes_of_the_corpus_by_tokens_is_read_right() -> None:
    for seed in range(400):
        random = Random(seed)
        made = random.choice(CORPUS).read_bytes()
        for _ in range(3):
            made = respell(made, random)
            try:
                judge(made)
            except BaseException:
                print(f"seed {seed}: {made!r}")
                raise


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 40


def test_the_judge_notices_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from maia_sync.maia.wire import decode_page

    def judged_of(body: bytes) -> None:
        """Judge a body by what is decoded of another."""
        monkeypatch.setattr(
            "fuzz.judge.decode_page", lambda given, limit: decode_page(changed[given], limit=limit)
        )
        judge_body(body, between=b"nul")

    page = b'{"results":[' + FIRST + b",%b," + LAST + b"]}"
    for good, bad in (
        (b"{}", b'{"x":1}'),
        (b'{"data":"\\u0041"}', b'{"data":"A"   }'),
        (b"7", b"8"),
        (b"nul", b"nux"),
    ):
        body = page % good
        changed = {body: page % bad}
        with pytest.raises(AssertionError):
            judged_of(body)

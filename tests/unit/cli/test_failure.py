from __future__ import annotations

import pytest

from maia_sync import errors
from maia_sync.cli.failure import exit_code_of, exit_code_of_signal, sentences_of

EXPECTED = {
    errors.RetriesExhausted: 1,
    errors.UsageError: 2,
    errors.CredentialsRefused: 4,
    errors.DatabaseUnreachable: 5,
    errors.DatabaseNotMigrated: 5,
    errors.DatabaseTooNew: 5,
    errors.UpstreamUnreachable: 6,
    errors.Bug: 1,
    ValueError: 1,
}


@pytest.mark.parametrize(("kind", "code"), EXPECTED.items(), ids=lambda each: getattr(each, "__name__", each))
def test_each_error_has_the_exit_code_of_the_design(kind: type[Exception], code: int) -> None:
    assert exit_code_of(kind("what happened")) == code
    (sentence,) = sentences_of(kind("what happened"))
    assert "\n" not in sentence


def test_each_problem_of_a_configuration_is_one_sentence() -> None:
    error = errors.ConfigError(["first: wrong", "second:\x1b[2J wrong"])
    assert exit_code_of(error) == 3
    assert sentences_of(error) == ["first: wrong", "second:\\u001b[2J wrong"]


def test_a_foreign_exceptions_text_is_not_shown_as_it_could_hold_a_secret() -> None:
    (sentence,) = sentences_of(ValueError("Bearer s3cret"))
    assert "s3cret" not in sentence
    assert "ValueError" in sentence
    assert "report" in sentence


def test_a_signal_ends_a_run_as_shells_expect() -> None:
    assert (exit_code_of_signal(2), exit_code_of_signal(15)) == (130, 143)

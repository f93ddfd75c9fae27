"""Does the sandbox let in whom it should?"""

from __future__ import annotations

from maia_sync.clock import ManualClock
from maia_sync.sandbox.bearers import Bearers


def test_any_token_is_accepted_unless_some_are_fixed() -> None:
    assert Bearers(clock=ManualClock()).accepts("anything")
    assert not Bearers(clock=ManualClock()).accepts("")
    fixed = Bearers(clock=ManualClock(), fixed={"good"})
    assert (fixed.accepts("good"), fixed.accepts("bad")) == (True, False)


def test_an_issued_token_expires_after_its_life() -> None:
    clock = ManualClock()
    bearers = Bearers(clock=clock, life=30.0)
    token = bearers.issue()
    clock.advance(29)
    assert bearers.accepts(token)
    clock.advance(1)
    assert not bearers.accepts(token)


def test_revoked_tokens_are_refused_even_where_any_other_is_accepted() -> None:
    bearers = Bearers(clock=ManualClock())
    token = bearers.issue()
    bearers.revoke()
    assert not bearers.accepts(token)
    assert bearers.accepts(bearers.issue())
    assert bearers.issued == 2


def test_client_credentials_are_checked_where_clients_are_named() -> None:
    bearers = Bearers(clock=ManualClock(), clients={"me": "secret"})
    assert bearers.knows("me", "secret")
    assert not bearers.knows("me", "wrong")
    assert Bearers(clock=ManualClock()).knows("any", "thing")

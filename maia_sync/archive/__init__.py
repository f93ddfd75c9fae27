"""The audit archive: what was received and when, provable to someone who trusts nobody here."""

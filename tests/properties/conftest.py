"""How long do the property tests search? As the others do; `--hypothesis-profile=thorough` searches on.

`python -m pytest tests/properties --hypothesis-profile=thorough` takes twenty times as many examples.
What fails is printed with the line that tries it again.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile(
    "thorough", parent=settings.get_profile("patient"), max_examples=2_000, print_blob=True
)

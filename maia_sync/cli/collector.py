"""How often does Python look for garbage? Seldom, and not among what a process of ours has loaded."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Leave all that is there now out of every search for garbage, and search less often.

    For the command line's own process: a library's host decides for itself. What a page brings is freed by
    reference counts, so the searches find next to nothing. They took 6 % of a backfill's CPU, and the last
    ones, when Python ends, a quarter of that of `maia-sync tasks`.
    """
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)

"""Are files taken for an archive's that came while its files were listed?"""

from __future__ import annotations

from memory_place import MemoryPlace

from maia_sync.archive.finding import Findings
from maia_sync.archive.inventory import Inventory
from maia_sync.archive.layout import checkpoint_path
from maia_sync.archive.tiles import partials_of


def test_partial_files_of_a_checkpoint_that_came_later_are_its_own() -> None:
    inventory = Inventory(10)
    inventory.checkpoints = [10]
    inventory.partials = {str(path) for size in (10, 20) for path in partials_of(size)}
    place = MemoryPlace({checkpoint_path(size): b"" for size in (10, 20, 30)})
    findings = Findings()
    inventory.judge(30, findings)
    assert findings.count == len(list(partials_of(20)))
    inventory.look_again(place)
    assert (inventory.later, inventory.copied) == ([20, 30], [10, 20, 30])
    findings = Findings()
    inventory.judge(30, findings)
    assert inventory.missing_partials(30, findings, beyond=(), faulty=()) == set()
    assert findings.count == 0

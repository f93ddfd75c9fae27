"""What does aics-tlog, which reads transparency logs and is by others, say of an archive?

Run by a Python that has it. Arguments: the archive's folder, the verifier key, the file of an earlier
checkpoint, and of a proof. Prints what it has verified as JSON; complains on stderr, and fails, where
something is wrong. Nothing of maia_sync is imported.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import aics_tlog as others


def main(folder: str, key: str, earlier_file: str, proof_file: str) -> None:
    size, root = head_of(Path(folder, "checkpoint").read_text("utf-8"), key)
    tiles = others.FileSystemTileReader(folder)
    audit = others.audit_tiles(tiles, size, root)
    earlier_size, earlier_root = head_of(Path(earlier_file).read_text("utf-8"), key)
    consistency = others.consistency_proof_from_tiles(tiles, earlier_size, size)
    require(others.verify_consistency(earlier_size, size, earlier_root, root, consistency), "not consistent")
    for index in sorted({0, min(255, size - 1), min(256, size - 1), size // 2, size - 1}):
        entry = others.read_entry(tiles, index, size)
        path = others.inclusion_proof_from_tiles(tiles, index, size)
        require(
            others.verify_inclusion(others.leaf_hash(entry), index, size, path, root), f"{index} not included"
        )
    above, _, checkpoint = Path(proof_file).read_text("utf-8").partition("\n\n")
    heading, extra, number, *lines = above.split("\n")
    require(heading == "c2sp.org/tlog-proof@v1", heading)
    proven_size, proven_root = head_of(checkpoint, key)
    index = int(number.removeprefix("index "))
    entry = json.loads(base64.b64decode(extra.removeprefix("extra ")))["entry"].encode()
    path = [base64.b64decode(line) for line in lines]
    included = others.verify_inclusion(others.leaf_hash(entry), index, proven_size, path, proven_root)
    require(included, "the proof proves nothing")
    require(entry == others.read_entry(tiles, index, size), "the proof is of another entry")
    print(
        json.dumps(
            {
                "version": others.__version__,
                "size": size,
                "tiles": audit.tiles,
                "bundles": audit.bundles,
                "earlier": earlier_size,
                "proven": index,
            }
        )
    )


def head_of(checkpoint: str, key: str) -> tuple[int, bytes]:
    verified = others.verify_checkpoint(others.parse_note(checkpoint), others.parse_vkey(key))
    require(verified.ok, str(verified.error))
    return verified.size, verified.root


def require(holds: object, complaint: str) -> None:
    if not holds:
        raise SystemExit(complaint)


main(*sys.argv[1:])

"""Which bytes does `decode_page` read wrong? Searches for them, led by the branches that they take.

`python -m tests.fuzz --seconds N [FOLDER]` from the repository's root, with atheris installed. It starts from
the corpus beside this file; what reaches new branches is kept in FOLDER for the next time, without one it is
thrown away. A finding ends it: it is printed and written as `crash-...` into FOLDER, or here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent))

with atheris.instrument_imports(include=["maia_sync.maia"]):
    from fuzz.judge import judge
    from fuzz.respelling import respell


def change(given: bytes, most: int, seed: int) -> bytes:
    """Change an input: by bytes, as fuzzers do, or by tokens."""
    random = Random(seed)
    changed = respell(given, random) if random.random() < 0.5 else b""
    return changed if 0 < len(changed) <= most else atheris.Mutate(given, most)


def main() -> None:
    """Parse the command line and hand over to the fuzzer, which ends the process itself."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time; it is printed")
    parser.add_argument("--longest", type=int, default=4096, help="bytes of an input at most")
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="maia-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={given.seconds}",
        f"-seed={given.seed}",
        f"-max_len={given.longest}",
        f"-dict={_HERE / 'words.dict'}",
        f"-artifact_prefix={given.folder or '.'}/",
        "-timeout=20",
        "-print_final_stats=1",
        str(folder),
        str(_HERE / "corpus"),
    ]
    atheris.Setup(arguments, judge, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

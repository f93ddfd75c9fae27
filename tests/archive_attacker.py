"""What can somebody do to an archive who has all of its files, all of our software, and not the key?

`Damage` alters files as they are. `Forgery` alters what they tell, and then makes everything anew that can be
made: salts, payload hashes, data segments and their SHA-256, entries, bundles, tiles, the root, SHA256SUMS,
and checkpoints that are unsigned, or signed by a key of the attacker's own that bears the log's name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import string
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from memory_place import MemoryPlace

from maia_sync.archive.chunk import Rows
from maia_sync.archive.entry import SALT_BYTES
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.note import open_checkpoint, sign_checkpoint
from maia_sync.archive.segment import encode_segment, read_segment, segment_path

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer, VerifierKey

Files = dict[str, bytes]
KINDS = ("tile", "bundle", "segment", "SHA256SUMS", "checkpoint", "copy")


def kind_of(path: str) -> str:
    if path.startswith("tile/entries/"):
        return "bundle"
    for prefix, kind in (("tile/", "tile"), ("data/", "segment"), ("checkpoints/", "copy")):
        if path.startswith(prefix):
            return kind
    return path


def changed_paths(before: Files, after: Files) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


# ------------------------------------------------------------------ files as they are


class Damage:
    """Alters files without understanding them; `kept` are those that were there once."""

    def __init__(self, rng: random.Random, files: Files, kept: Files) -> None:
        self.rng = rng
        self.files = files
        self.kept = kept

    def apply(self) -> str:
        """Do one of them, and tell what."""
        deeds = (
            [self.flip] * 6
            + [self.truncate, self.lengthen, self.drop, self.drop, self.empty, self.swap, self.rename]
            + [self.duplicate, self.add, self.add, self.respell, self.manifest, self.manifest, self.note]
            + [self.note, self.reencode, self.reencode, self.cut_log, self.put_back, self.put_back]
        )
        return self.rng.choice(deeds)()

    def any_file(self, kind: str | None = None) -> str:
        """Return a file: of each kind as often as of the others."""
        wanted = kind or self.rng.choice(KINDS)
        return self.rng.choice(sorted(path for path in self.files if kind_of(path) == wanted))

    def flip(self) -> str:
        path = self.any_file()
        content = bytearray(self.files[path])
        at = self.rng.randrange(len(content))
        content[at] ^= self.rng.choice((1 << self.rng.randrange(8), self.rng.randrange(1, 256)))
        self.files[path] = bytes(content)
        return f"flip a byte of a {kind_of(path)}"

    def truncate(self) -> str:
        path = self.any_file()
        self.files[path] = self.files[path][: self.rng.randrange(len(self.files[path]))]
        return f"truncate a {kind_of(path)}"

    def lengthen(self) -> str:
        path = self.any_file()
        more = self.rng.choice((b"\n", b"\0", self.files[path][-32:], self.rng.randbytes(32)))
        self.files[path] += more
        return f"lengthen a {kind_of(path)}"

    def empty(self) -> str:
        path = self.any_file()
        self.files[path] = b""
        return f"empty a {kind_of(path)}"

    def drop(self) -> str:
        path = self.any_file()
        del self.files[path]
        return f"drop a {kind_of(path)}"

    def swap(self) -> str:
        kind = self.rng.choice(("tile", "bundle", "segment", "copy"))
        one, other = self.any_file(kind), self.any_file(kind)
        self.files[one], self.files[other] = self.files[other], self.files[one]
        return f"swap two files: {kind}"

    def rename(self) -> str:
        path = self.any_file()
        self.files[self._another_name(path)] = self.files.pop(path)
        return f"rename a {kind_of(path)}"

    def duplicate(self) -> str:
        path = self.any_file()
        self.files[self._another_name(path)] = self.files[path]
        return f"duplicate a {kind_of(path)}"

    def put_back(self) -> str:
        """Put a file back from which payloads were erased, beside the one in its place or instead of it."""
        path = self.rng.choice(sorted(self.kept.keys() - self.files.keys()))
        self.files[path] = self.kept[path]
        start = path.removesuffix(".parquet")
        newer = [each for each in sorted(self.files) if each.startswith(start) and each != path]
        if self.rng.random() < 0.5:
            return "put an erased file back"
        for each in newer:
            del self.files[each]
        lines = self.files["SHA256SUMS"].decode()
        for each in newer:
            lines = lines.replace(each, path)
        self.files["SHA256SUMS"] = lines.encode()
        return "put an erased file in its old place"

    def _another_name(self, path: str) -> str:
        digits = [at for at, letter in enumerate(path) if letter.isdigit()]
        if not digits or self.rng.random() < 0.2:
            return path + self.rng.choice((".bak", "~", " ", "\u200b", ".p/7"))
        at = self.rng.choice(digits)
        return path[:at] + self.rng.choice(string.digits) + path[at + 1 :]

    def respell(self) -> str:
        """Put a file beside itself under a name that somebody may read as the same."""
        path = self.any_file(self.rng.choice(("tile", "bundle", "segment")))
        folder, _, name = path.rpartition("/")
        spellings = [
            f"{folder}/x000/{name}",
            f"{folder}//{name}",
            f"{folder}/{name}.p/256",
            f"{folder}/0{name}",
        ]
        spellings += [path.upper(), f"./{path}", path.replace("tile/", "tile/00", 1), f"{path}.p/0"]
        self.files[self.rng.choice(spellings)] = self.files[path]
        return f"respell the name of a {kind_of(path)}"

    def add(self) -> str:
        names = (
            "data/date=2026-01-05/000000000000-000000000009.parquet",
            "data/date=2026-01-05/part-0.parquet",
            "data/date=2031-01-05/000000009000-000000009009.parquet",
            "tile/0/003",
            "tile/entries/003",
            "tile/7/000.p/1",
            "tile/0/001.p/17",
            "tile/entries/002.p/3",
            "checkpoints/000000000017",
            "checkpoints/000000999999",
            "checkpoints/latest",
            "README",
            "SHA256SUMS.asc",
            ".hidden",
            "unfinished",
        )
        path = self.rng.choice([name for name in names if name not in self.files])
        self.files[path] = self.files[self.any_file()] if self.rng.random() < 0.7 else self.rng.randbytes(64)
        return "add a file"

    def manifest(self) -> str:
        lines = self.files["SHA256SUMS"].splitlines(keepends=True)
        one, other = self.rng.sample(range(len(lines)), 2)
        deeds = ("drop a line", "double a line", "swap lines", "add a line", "swap sums", "go on")
        deed = self.rng.choice(deeds)
        if deed == "drop a line":
            del lines[one]
        elif deed == "double a line":
            lines.insert(other, lines[one])
        elif deed == "swap lines":
            lines[one], lines[other] = lines[other], lines[one]
        elif deed == "swap sums":
            sums = lines[one][:64], lines[other][:64]
            lines[one], lines[other] = sums[1] + lines[one][64:], sums[0] + lines[other][64:]
        elif deed == "go on":
            lines.append(lines[one][:66] + b"data/date=2026-01-05/000000000606-000000000700.parquet\n")
        else:
            lines.insert(one, hashlib.sha256(b"").hexdigest().encode() + b"  data/x.parquet\n")
        self.files["SHA256SUMS"] = b"".join(lines)
        return f"SHA256SUMS: {deed}"

    def note(self) -> str:
        """Spell a checkpoint anew: bytes that a lenient reader takes for the same."""
        path = self.any_file(self.rng.choice(("checkpoint", "copy")))
        text = self.files[path].decode()
        origin, size, root, rest = text.split("\n", 3)
        signature = rest.rstrip("\n").rsplit(" ", 1)[1]
        spellings = {
            "line ends": text.replace("\n", "\r\n"),
            "no last line end": text.rstrip("\n"),
            "one more line end": text + "\n",
            "a zero in front of the size": f"{origin}\n0{size}\n{root}\n{rest}",
            "a plus in front of the size": f"{origin}\n+{size}\n{root}\n{rest}",
            "other digits": text.replace(f"\n{size}\n", f"\n{_arabic(size)}\n"),
            "no padding": text.replace(root, root.rstrip("=")).replace(signature, signature.rstrip("=")),
            "bits behind the root": text.replace(root, _loosen(root)),
            "bits behind the signature": text.replace(signature, _loosen(signature)),
            "a space in the signature": text.replace(signature, f"{signature[:20]} {signature[20:]}"),
            "the signature twice": text + rest.removeprefix("\n"),
            "somebody's signature": text
            + "— witness.example "
            + base64.b64encode(os.urandom(68)).decode()
            + "\n",
            "an extension line": f"{origin}\n{size}\n{root}\nmore\n{rest}",
            "another origin": text.replace(origin, f"{origin}/2"),
            "a hyphen for the dash": text.replace("—", "-"),
            "a byte order mark": "\ufeff" + text,
        }
        name = self.rng.choice([name for name in spellings if spellings[name] != text])
        self.files[path] = spellings[name].encode()
        return f"checkpoint: {name}"

    def reencode(self) -> str:
        """Write a segment's rows anew, in another way or as others, and mend SHA256SUMS."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.any_file("segment")
        table = pq.read_table(pa.BufferReader(self.files[path]))
        deed = self.rng.choice(
            ("row groups", "codec", "column", "reorder", "double", "drop", "edit", "metadata")
        )
        options: dict[str, Any] = {"compression": "zstd"}
        if deed == "row groups":
            options["row_group_size"] = max(1, table.num_rows // 2)
        elif deed == "codec":
            options["compression"] = "gzip"
        elif deed == "column":
            table = table.append_column("note", pa.array(["x"] * table.num_rows))
        elif deed == "reorder":
            table = table.take(list(reversed(range(table.num_rows))))
        elif deed == "double":
            table = pa.concat_tables([table, table.slice(0, 1)])
        elif deed == "drop":
            table = table.slice(1)
        elif deed == "edit":
            edited = ["null", *table.column("data").to_pylist()[1:]]
            table = table.set_column(13, "data", pa.array(edited, pa.string()))
        else:
            table = table.replace_schema_metadata({"by": "somebody"})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        content = sink.getvalue().to_pybytes()
        old, new = (hashlib.sha256(each).hexdigest().encode() for each in (self.files[path], content))
        self.files[path] = content
        self.files["SHA256SUMS"] = self.files["SHA256SUMS"].replace(old, new)
        return f"write a segment anew: {deed}"

    def cut_log(self) -> str:
        """Drop the last bundle and its tile together."""
        for path in [path for path in self.files if path.startswith(("tile/entries/002", "tile/0/002"))]:
            del self.files[path]
        return "drop the log's end"


def _arabic(number: str) -> str:
    return number.translate({ord("0") + digit: 0x660 + digit for digit in range(10)})


def _loosen(text: str) -> str:
    """Set bits of base64's last letter that no byte is made of."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    bare = text.rstrip("=")
    return bare[:-1] + alphabet[alphabet.index(bare[-1]) | 1] + text[len(bare) :]


# ------------------------------------------------------------------ everything made anew


class Row(NamedTuple):
    """A record of the log, with its row in a segment if it has a payload."""

    entry: dict[str, Any]
    row: dict[str, Any] | None


@dataclass
class Forged:
    """What came out: files, and what was done."""

    files: Files
    deed: str


class Forgery:
    """Alters what an archive tells, and makes it anew as far as one can without the key."""

    def __init__(self, files: Files, key: VerifierKey) -> None:
        self.files = files
        self.key = key
        heads = [open_checkpoint(files[path], key) for path in sorted(files) if kind_of(path) == "copy"]
        self.sizes = [head.size for head in heads]
        log = LogReader(MemoryPlace(files), heads[-1])
        self.entries = [entry for _, some in log.entries() for entry in some]
        self.rows: dict[int, dict[str, Any]] = {}
        for path, content in files.items():
            if kind_of(path) == "segment":
                for rows in read_segment(content):
                    for values in zip(*rows, strict=True):
                        row = dict(zip(Rows._fields, values, strict=True))
                        self.rows[row["entry"]] = row

    def chunks(self) -> list[list[Row]]:
        """Return the records that were archived before each checkpoint."""
        chunks = []
        for start, end in zip([0, *self.sizes], self.sizes, strict=False):
            told = [(index, json.loads(self.entries[index])) for index in range(start, end)]
            chunks.append(
                [
                    Row(entry, dict(self.rows[index]) if index in self.rows else None)
                    for index, entry in told
                    if entry["type"] not in ("segment", "redacted")
                ]
            )
        return chunks

    def forge(self, rng: random.Random, other: Signer) -> Forged:
        """Alter a record or some, and make everything anew."""
        chunks = self.chunks()
        at = rng.choice([number for number, chunk in enumerate(chunks) if len(chunk) > 9])
        deeds: tuple[Callable[[random.Random, list[list[Row]], int], str], ...] = (
            _edit_payload,
            _edit_payload,
            _edit_entry,
            _edit_entry,
            _drop,
            _drop_many,
            _double,
            _swap,
            _invent,
            _strange,
            _move,
            _unsay,
        )
        deed = rng.choice(deeds)(rng, chunks, at)
        files, heads = self.rebuild(chunks, 0 if deed.startswith(("move", "unsay")) else at)
        how = self._publish(rng, files, heads, other)
        return Forged(files, f"{deed}; {how}")

    def rebuild(self, chunks: list[list[Row]], altered: int) -> tuple[Files, list[TreeHead]]:
        """Return all files but checkpoints, with the heads that the log has at each of them."""
        place = MemoryPlace()
        writer = LogWriter.open(place, None)
        heads: list[TreeHead] = []
        sums: list[str] = []
        lines = self.files["SHA256SUMS"].decode().splitlines(keepends=True)
        for number, chunk in enumerate(chunks):
            first = writer.size
            if number < altered:
                entries = self.entries[first : self.sizes[number]]
                writer.append(entries)
                told = (json.loads(entry) for entry in entries)
                facts = [entry["facts"] for entry in told if entry["type"] == "segment"]
                standing = lines[len(sums) : len(sums) + len(facts)]  # the newest file of each segment
                for path in (line[66:-1] for line in standing):
                    place.write_new(path, self.files[path])
                sums += standing
            else:
                facts = self._chunk_anew(place, writer, chunk, first)
                sums += [f"{each['sha256']}  {each['path']}\n" for each in facts]
            heads.append(writer.finish())
        for earlier, head in pairwise(heads):
            delete_old_partials(place, head.size, since=earlier.size)
        place.files["SHA256SUMS"] = "".join(sums).encode()
        return place.files, heads

    def _chunk_anew(
        self, place: MemoryPlace, writer: LogWriter, chunk: list[Row], first: int
    ) -> list[dict[str, Any]]:
        by_path: dict[str, list[dict[str, Any]]] = {}
        end = first + len(chunk)
        for index, (entry, row) in enumerate(chunk, first):
            if row is None:
                continue
            row["entry"] = index
            if row["salt"] is not None:  # what was erased cannot be hashed anew
                row["salt"] = os.urandom(SALT_BYTES)
                entry["payload"] = hashlib.sha256(row["salt"] + _payload(row)).hexdigest()
            received = row["type"] in ("quarantine", "sent")
            moment = row["received_at"] if received else row["occurred_at"]
            path = segment_path(None if moment is None else moment.date(), first, end)
            by_path.setdefault(path, []).append(row)
        facts = []
        for path, rows in sorted(by_path.items()):
            content = encode_segment(Rows(*([row[name] for row in rows] for name in Rows._fields)))
            place.write_new(path, content)
            told = {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "rows": len(rows)}
            facts.append({**told, "first": first, "end": end})
        writer.append([_spell(entry) for entry, _ in chunk])
        writer.append([_spell({"v": 1, "type": "segment", "facts": each}) for each in facts])
        return facts

    def _publish(self, rng: random.Random, files: Files, heads: list[TreeHead], other: Signer) -> str:
        """Put checkpoints there: what an attacker can do about their signatures."""
        how = rng.choice(
            ("signed by another key", "unsigned", "with the old signatures", "the old checkpoints kept",
             "the old checkpoints kept", "old and new signature")
        )  # fmt: skip
        old = {path: held for path, held in self.files.items() if kind_of(path) in ("copy", "checkpoint")}
        if how == "the old checkpoints kept":
            files.update(old)
            return how
        texts = [sign_checkpoint(head, other) for head in heads]
        lines = [old[f"checkpoints/{size:012}"].decode().rpartition("\n\n")[2] for size in self.sizes]
        for number, (head, line) in enumerate(zip(heads, lines, strict=True)):
            body, _, signature = texts[number].rpartition("\n\n")
            signatures = {
                "signed by another key": signature,
                "unsigned": "",
                "with the old signatures": line,
                "old and new signature": line + signature,
            }
            text = f"{body}\n\n{signatures[how]}"
            files[f"checkpoints/{head.size:012}"] = text.encode()
            files["checkpoint"] = text.encode()
        return how


def _payload(row: dict[str, Any]) -> bytes:
    if row["raw"] is not None:
        return bytes(row["raw"])
    stamp = row["timestamp_text"]
    told = stamp is not None and row["occurred_at"] is not None and len(stamp) <= 64
    if row["data"] is not None and row["extra"] is None and (stamp is None or told):
        return bytes(row["data"])
    parts = (row["data"] or b"", (row["extra"] or "").encode(), b"" if told else (stamp or "").encode())
    return b"\0".join(parts)


def _spell(entry: dict[str, Any]) -> bytes:
    order = ("v", "type", "task", "group", "timestamp", "timestamp_text", "ordinal", "revision", "id")
    names = [*order, "received", "run", "payload", "facts"]
    spelt = {name: entry[name] for name in names if name in entry}
    return json.dumps({**spelt, **entry}, separators=(",", ":"), ensure_ascii=False).encode()


def _some(rng: random.Random, chunk: list[Row], *, with_row: bool = False) -> int:
    return rng.choice([at for at, record in enumerate(chunk) if record.row is not None or not with_row])


def _edit_payload(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    entry, row = chunks[at][_some(rng, chunks[at], with_row=True)]
    assert row is not None
    if row["salt"] is None:
        row.update(salt=b"", raw=None)  # an erased one is made up
    if row["raw"] is not None:
        row["raw"] = b"[]"
    elif rng.random() < 0.2:
        row["extra"] = '{"said":"otherwise"}'
    else:
        row["data"] = b'{"n":0,"text":"nothing of that kind was said"}'
    return f"edit the payload of an entry ({entry['type']})"


def _edit_entry(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    entry, row = chunks[at][_some(rng, chunks[at])]
    name = rng.choice(
        [name for name in ("task", "group", "ordinal", "revision", "run", "received") if name in entry]
    )
    columns = {"task": "task_id", "group": "group_id", "run": "run_id"}
    values = {"task": "99999999-1111-4111-8111-111111111111", "group": "another"}
    if name == "received":
        entry[name] = "2020" + entry[name][4:]
        if row is not None:
            row["received_at"] = row["received_at"].replace(year=2020)
        return "edit an entry: received"
    entry[name] = values.get(name, entry[name] + 1 if name not in values else None)
    if row is not None:
        row[columns.get(name, name)] = entry[name]
    return f"edit an entry: {name}"


def _drop(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    del chunks[at][_some(rng, chunks[at])]
    return "drop an entry"


def _drop_many(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    keep = rng.randrange(1, len(chunks[at]))
    del chunks[at][keep:]
    return "drop the end of a chunk"


def _double(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    entry, row = chunks[at][_some(rng, chunks[at])]
    chunks[at].insert(rng.randrange(len(chunks[at])), Row(dict(entry), None if row is None else dict(row)))
    return "double an entry"


def _swap(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    chunk = chunks[at]
    one, other = rng.sample(range(len(chunk)), 2)
    chunk[one], chunk[other] = chunk[other], chunk[one]
    return "swap two entries"


def _invent(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    entry, row = chunks[at][_some(rng, chunks[at], with_row=True)]
    assert row is not None
    invented, beside = dict(entry), dict(row)
    if "ordinal" in invented:
        invented["ordinal"] = beside["ordinal"] = 7
    else:
        invented["id"] = beside["number"] = 70_000
    chunks[at].append(Row(invented, beside))
    return "invent an entry"


def _strange(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    entry, row = chunks[at][_some(rng, chunks[at])]
    strange = {**entry, "type": "erased"} if rng.random() < 0.5 else {**entry, "more": "than there should be"}
    chunks[at].append(Row(strange, None if row is None else dict(row)))
    return "add an entry of an unknown kind"


def _move(rng: random.Random, chunks: list[list[Row]], at: int) -> str:
    """Move a record to another checkpoint: it was received earlier, or later."""
    taken = chunks[at].pop(_some(rng, chunks[at]))
    to = rng.choice([number for number in range(len(chunks)) if number != at])
    chunks[to].append(taken)
    return "move an entry to another checkpoint"


def _unsay(rng: random.Random, chunks: list[list[Row]], _: int) -> str:
    """Take an erasure out of the log, or tell of it in another way."""
    chunk = rng.choice([each for each in chunks if any(entry["type"] == "erasure" for entry, _ in each)])
    at = next(at for at, (entry, _) in enumerate(chunk) if entry["type"] == "erasure")
    name = rng.choice(("", "reason", "basis", "erased_by", "before", "payloads"))
    if not name and len(chunk) > 1:
        del chunk[at]
        return "unsay an erasure"
    facts = chunk[at].entry["facts"]
    facts[name or "reason"] = 7 if name == "payloads" else "2026-01-01T00:00:00.000000Z"
    return f"unsay what an erasure was: {name or 'reason'}"

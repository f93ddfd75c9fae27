"""How are the wanted places of a payload read without reading the rest? A msgspec struct built from paths.

One struct names what any path goes through, each with a type that takes every JSON value, so that no
payload is refused for what it holds; what is not wanted is skipped by msgspec without being made. What
msgspec cannot read at all (half a surrogate pair, a number beyond a double) is cut slice by slice.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from maia_sync.maia.json_slices import MalformedJson, items_of, members_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Steps: TypeAlias = tuple[str | int, ...]
"""A way into a payload: names and indexes (see json_path)."""


_BLANKS = b" \t\n\r"
_ODD_NAME = re.compile(r'["\\\x00-\x1f]')


class Unwanted(msgspec.Struct, frozen=True, gc=False):
    """An object of which nothing is wanted."""


class Shape:
    """One value of a payload, and what is wanted within it.

    Read, it is an instance of `struct` where it is an object, a list where it is an array, else what it is.
    """

    def __init__(self, paths: Iterable[Steps], names: Sequence[str] | None = None) -> None:
        """Take the wanted paths and, if they are known, all names that an object has, in their order.

        An object with another name is refused then; what is behind an unwanted name is kept unread.
        """
        self.names = names
        self.named: dict[str, Shape] = {}
        self.indexed: dict[int, Shape] = {}
        self.item: Shape | None = None
        """What is wanted of the items, whatever their index: they share one type."""
        by_step: dict[str | int, list[Steps]] = {}
        for path in paths:
            if path:
                by_step.setdefault(path[0], []).append(path[1:])
        for step, rest in by_step.items():
            if isinstance(step, str):
                self.named[step] = Shape(rest)
            else:
                self.indexed[step] = Shape(rest)
        if self.indexed:
            self.item = Shape(
                each for step, rest in by_step.items() if isinstance(step, int) for each in rest
            )
            for step in self.indexed:
                self.indexed[step] = self.item
        self.fields = {name: f"f{at}" for at, name in enumerate(self.named)}
        self.has_odd_names: bool = any(
            (isinstance(step, str) and is_odd_name(step)) or self._child(step).has_odd_names
            for step in by_step
        )
        """A name in it is none that msgspec can look for: payloads are read slice by slice."""
        self.struct: type[msgspec.Struct] = self._make_struct()

    def _child(self, step: str | int) -> Shape:
        return self.named[step] if isinstance(step, str) else self.indexed[step]

    def _make_struct(self) -> type[msgspec.Struct]:
        if self.names is None and not self.named:
            return Unwanted
        types = {name: shape.type for name, shape in self.named.items()}
        if self.names is not None:
            types = {name: types.get(name, msgspec.Raw) for name in self.names}
        fields = {name: self.fields.get(name, f"unwanted{at}") for at, name in enumerate(types)}
        return msgspec.defstruct(
            "Wanted",
            [(fields[name], each, None) for name, each in types.items()],
            rename=None if self.has_odd_names else {field: name for name, field in fields.items()},
            forbid_unknown_fields=self.names is not None,
            gc=False,
        )

    @property
    def type(self) -> Any:
        """The type that msgspec reads it as: any JSON value."""
        item: Any = msgspec.Raw if self.item is None else self.item.type
        return str | int | float | bool | self.struct | list[item] | None

    def read_slices(self, raw: bytes) -> Any:
        """Read a value as msgspec would, whatever it holds; what has no value in Python is None."""
        raw = raw.strip(_BLANKS)
        if raw[:1] == b"{":
            return self.struct(**dict(self._read_members(raw)))
        if raw[:1] == b"[":
            return [None if self.item is None else self.item.read_slices(item) for item in items_of(raw)]
        try:
            return json.loads(raw.decode(), strict=False)
        except ValueError:
            return None

    def _read_members(self, raw: bytes) -> Iterator[tuple[str, Any]]:
        for name, value in members_of(raw):
            shape = self.named.get(json.loads(name, strict=False))
            if shape is not None:
                yield self.fields[json.loads(name, strict=False)], shape.read_slices(value)


UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What a decoder of msgspec raises where a payload has to be read another way."""
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def names_of(data: str) -> Iterable[str]:
    """Return the names in a payload, in their order; none where it is no object that msgspec reads."""
    try:
        return _members.decode(data)
    except UNREADABLE:
        return ()


def is_odd_name(name: str) -> bool:
    """Tell whether a name is none that msgspec can look for."""
    return _ODD_NAME.search(name) is not None


def read_payload(shape: Shape, decode: Callable[[str], Any] | None, data: str) -> Any:
    """Read a payload as far as a shape wants it, by its decoder if there is one; never raises."""
    try:
        if decode is not None:
            return decode(data)
    except UNREADABLE:
        pass
    try:
        return shape.read_slices(data.encode())
    except (MalformedJson, UnicodeError, RecursionError):
        return None


def is_empty_object(found: msgspec.Struct, data: str, steps: Steps) -> bool:
    """Tell whether what a payload was read to hold at a place is an object without members."""
    if any(getattr(found, field) is not None for field in found.__struct_fields__):
        return False
    raw = data.encode().strip(_BLANKS)
    for step in steps:
        if isinstance(step, int):
            raw = items_of(raw)[step]
        else:
            raw = [value for name, value in members_of(raw) if json.loads(name, strict=False) == step][-1]
    return not raw[1:-1].strip(_BLANKS)

"""How do a configuration's paths become one function? Written as source and compiled, as in `dataclasses`.

It runs for every event of every backfill, and a loop over some hundred paths would cost several times the
rest. What is odd (a value of another type, a long text, an unknown word) leaves it for a slower one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maia_sync.analytics.payload_shape import UNREADABLE, Shape, read_payload
from maia_sync.facet_settings import FACETS, NUMBER_PATHS, TEXT_PATHS
from maia_sync.json_path import parse_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from maia_sync.facet_settings import FacetsSettings
    from maia_sync.json_path import Path
    from maia_sync.store.facets import FacetRow

_AT_ONCE = 64
_MOST: Final = {"duration_ms": 10**12, "input_tokens": 10**12, "output_tokens": 10**12, "cost": 10**9}
"""What is beyond measures nothing: 30 years, a trillion tokens. It also keeps sums within 64 bits."""
_WHOLE = frozenset(("input_tokens", "output_tokens"))
_IDS = frozenset(("user_id", "tool_call_id"))


class FacetCode:
    """A function that reads the facets of payloads: of any, or quicker, of those with known names alone."""

    def __init__(
        self, settings: FacetsSettings, meanings: Mapping[str, Any], names: Sequence[str] | None = None
    ) -> None:
        """Take the functions and words that the source refers to; and the names that payloads may have."""
        self.names = names
        self._paths = {
            name: [path for path in map(parse_path, getattr(settings, name)) if _may_lead(path, names)]
            for name in (*TEXT_PATHS, *NUMBER_PATHS)
        }
        shape = Shape((path.steps for each in self._paths.values() for path in each), names)
        decode = None if shape.has_odd_names else msgspec.json.Decoder(shape.type).decode
        self._read = partial(read_payload, shape, decode)
        self._decode = decode or self._read
        self.is_quick = decode is not None
        """Payloads are not read slice by slice."""
        self._scope: dict[str, Any] = {**meanings, "item": _item, "unreadable": UNREADABLE}
        self._expressions: dict[tuple[str | int, ...], str] = {(): "found"}
        opened = self._open(shape, (), "found")
        exec(self._source(opened), self._scope)  # noqa: S102 - of our own words alone: names of payloads stand in no line of it
        self._tell: Callable[..., str | None] = self._scope["tell"]

    def tell(self, payloads: Iterator[str | None], told: list[Any]) -> str | None:
        """Append the facets of payloads, one after the other; return the first it cannot read, if any."""
        return self._tell(payloads, told, self._decode)

    def facets_of(self, payload: str | None) -> FacetRow:
        """Return the facets of a payload, whatever it holds.

        Of code without names only: what reads a payload that cannot be decoded passes unknown names over.
        """
        told: list[Any] = []
        self._tell((payload,), told, self._read)
        return tuple(told)

    def _source(self, opened: list[str]) -> str:
        """Return the source of `tell`; of `user_id = ["user.id", "userId"]` alone it would be, in short:

        def tell(payloads, told, decode):
            for data in payloads:
                try:
                    found = decode(data)
                except unreadable:
                    return data
                o9 = found
                if type(o9) is not Shape9: o9 = nothing9
                o10 = o9.f0
                if type(o10) is not Shape10: o10 = nothing10
                user_id = o10.f0 or o9.f1 or ''
                if user_id and type(user_id) is not str: user_id = text((o10.f0, o9.f1,), 'id')
                told += (user_id,)
            return None
        """
        return "\n".join(
            [
                "def tell(payloads, told, decode):",
                "    for data in payloads:",
                "        if data is None:",
                f"            told += {_tuple(repr('') for _ in FACETS)}",
                "            continue",
                "        try:",
                "            found = decode(data)",
                "        except unreadable:",
                "            return data",
                *_indented(2, opened),
                *_indented(2, self._body()),
                "    return None",
            ]
        )

    def _open(self, shape: Shape, steps: tuple[str | int, ...], value: str) -> list[str]:
        """Return the lines that take a value apart, and note an expression for each part that is wanted."""
        number = len(self._scope)
        self._scope |= {f"Shape{number}": shape.struct, f"nothing{number}": shape.struct()}
        lines = [
            f"o{number} = {value}",
            f"if type(o{number}) is not Shape{number}: o{number} = nothing{number}",
        ]
        for name, child in shape.named.items():
            inner = self._expressions[*steps, name] = f"o{number}.{shape.fields[name]}"
            if child.named or child.indexed:
                lines += self._open(child, (*steps, name), inner)
        for index, child in shape.indexed.items():
            item = f"i{number}_{len(lines)}"
            lines.append(f"{item} = item({value}, {index})")
            self._expressions[*steps, index] = item
            lines += self._open(child, (*steps, index), item)
        return lines

    def _found(self, name: str) -> list[str]:
        return [self._expressions[path.steps] for path in self._paths[name]]

    def _body(self) -> list[str]:
        marks = self._found("is_error")
        self._scope["ways"] = tuple(path.steps for path in self._paths["is_error"])
        lines = [f"is_error = {' or '.join(marks)}"] if marks else []
        signs = ["event_kind == 'error'", "failed"]
        if marks:
            signs.append(f"is_error and (is_error is True or tells({_tuple(marks)}, ways, data))")
        return [
            *(
                line
                for name in ("user_id", "agent_name", "model", "tool_name", "tool_call_id")
                for line in self._text(name)
            ),
            *(line for name in NUMBER_PATHS for line in self._number(name)),
            *self._word("event_type", "types", "event_type, event_kind, actor"),
            *self._actor(),
            *self._word("status", "statuses", "status, failed"),
            *lines,
            f"if {' or '.join(signs)}:",
            "    outcome = 'error'",
            *_indented(1, self._text("error_type")),
            "else:",
            "    outcome, error_type = 'ok' if event_kind == 'tool_result' else '', ''",
            f"told += {_tuple(FACETS)}",
        ]

    def _word(self, name: str, meanings: str, targets: str) -> list[str]:
        """Return the lines for what a word comes to, as `meanings` has it."""
        found = self._found(name)
        if not found:
            return [f"{targets} = {meanings}['']"]
        return [
            f"{name} = {' or '.join([*found, repr('')])}",
            f"meant = {meanings}.get({name}) if type({name}) is str else None",
            f"{targets} = meant or {meanings}.first({_tuple(found)})",
        ]

    def _actor(self) -> list[str]:
        """Return the lines that let roles say whose event it is, and of what kind it is then."""
        found = self._found("actor")
        if not found:
            return []
        return [
            "role = ''",
            *(f"if not role and type({each}) is str: role = roles[{each}]" for each in found),
            "if role:",
            "    actor = role",
            "    if not event_type: event_kind = kind_of_actor.get(actor, '')",
        ]

    def _text(self, name: str) -> list[str]:
        found = self._found(name)
        if not found:
            return [f"{name} = ''"]
        kind = "id" if name in _IDS else "name"
        odd = f"type({name}) is not str or len({name}) > {_AT_ONCE} or not {name}.isprintable()"
        return [
            f"{name} = {' or '.join([*found, repr('')])}",
            f"if {name} and ({odd}): {name} = text({_tuple(found)}, {kind!r})",
        ]

    def _number(self, name: str) -> list[str]:
        found = self._found(name)
        factors = tuple(path.factor for path in self._paths[name])
        plain = next((at for at, factor in enumerate(factors) if factor is not None), len(factors))
        slow = f"{name} = number({_tuple(found)}, {factors!r}, {_MOST[name]}, whole={name in _WHOLE})"
        odd = f"type({name}) is not int" + ("" if name in _WHOLE else f" and type({name}) is not float")
        scaled = [f"{each} is not None" for each in found[plain:]]
        return [
            f"{name} = {found[0] if plain else None}",
            *(f"if {name} is None: {name} = {each}" for each in found[1:plain]),
            f"if {name} is None:",
            f"    {name} = ''",
            *([f"    if {' or '.join(scaled)}: {slow}"] if scaled else []),
            f"elif {odd} or not 0 <= {name} <= {_MOST[name]}: {slow}",
        ]


def _may_lead(path: Path, names: Sequence[str] | None) -> bool:
    """Tell whether a path can lead anywhere in an object with these names."""
    return names is None or not path.steps or isinstance(path.steps[0], int) or path.steps[0] in names


def _indented(levels: int, lines: Iterable[str]) -> list[str]:
    return [f"{'    ' * levels}{line}" for line in lines]


def _tuple(expressions: Iterable[str]) -> str:
    return f"({' '.join(f'{each},' for each in expressions)})"


def _item(value: Any, index: int) -> Any:
    return value[index] if type(value) is list and -len(value) <= index < len(value) else None

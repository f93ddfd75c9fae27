"""What is loaded for a verb? Its own module, once it is asked for; all of a group's where they are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maia_sync.cli.coercion import coerce_at_need


class Verbs(typer.Typer):
    """A group of verbs: its own, or those of `homes`, each with the module here that registers it."""

    def __init__(self, homes: Mapping[str, str] | None = None, **options: Any) -> None:
        kind = _Group if homes is None else _group_of(homes)
        # No Rich in the help: it would cost a third of a second each time.
        super().__init__(cls=kind, invoke_without_command=True, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a function as a verb of this group's own."""
        return super().command(name, cls=_Verb, **options)


class _Verb(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return coerce_at_need(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return coerce_at_need(super().get_params(ctx))


def _group_of(homes: Mapping[str, str]) -> type[TyperGroup]:
    class Group(_Group):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            verbs: Any = _VerbsAtNeed(homes)
            self.commands = verbs

    return Group


class _VerbsAtNeed(Mapping[str, Any]):
    """Verbs by name: looking one up loads its module, the names alone load none."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = homes

    def __getitem__(self, name: str) -> Any:
        return _verbs_in(self._homes[name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


@cache
def _verbs_in(module: str) -> Mapping[str, Any]:
    """Return the verbs that a module of this folder registers."""
    verbs = Verbs()
    import_module(f"maia_sync.cli.{module}").register(verbs)
    return typer.main.get_group(verbs).commands

"""How does an answer become HTML? Jinja2 with autoescape, and the filters that page and report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2.bccache import Bucket


class _Compiled(jinja2.BytecodeCache):
    """What was compiled once in this process: a daemon's next life and the next report need not do it again.

    The environments that share it differ in filters alone, which are called by name.
    """

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket, unless the template has changed since."""
        compiled = self._compiled.get(bucket.key)
        if compiled is not None:
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what the bucket holds."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def make_environment(*packages: str, filters: Mapping[str, Callable[..., object]]) -> jinja2.Environment:
    """Return an environment over the `templates` folders of packages and of this one.

    Whatever a template prints is escaped, with control characters made visible first, unless it is Markup.
    """
    loaders = [jinja2.PackageLoader(package) for package in (*packages, __package__)]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        bytecode_cache=_COMPILED,
    )
    environment.filters.update(filters)
    return environment


def _shown(value: object) -> object:
    """Make a text visible; Markup is our own."""
    return visible(value) if type(value) is str else value

"""How does an answer become HTML? Jinja2 with autoescape, and the filters that page and report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
    )
    environment.filters.update(filters)
    return environment


def _shown(value: object) -> object:
    """Make a text visible; Markup is our own."""
    return visible(value) if type(value) is str else value

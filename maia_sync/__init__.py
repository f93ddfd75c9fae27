"""What is maia-sync: a faithful, queryable copy of Maia agent task logs in your own database.

From Python: `load_settings` or `Settings(...)`, then `open_app(settings)`. The names are loaded when
they are asked for, so that `maia-sync --version` need not load what it does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from maia_sync.version import __version__

if TYPE_CHECKING:
    from maia_sync.app import App, open_app
    from maia_sync.config import load_settings
    from maia_sync.errors import MaiaSyncError
    from maia_sync.model import RunReport, SentMessage, VerifyReport
    from maia_sync.settings import (
        ApiSettings,
        AuthSettings,
        DatabaseSettings,
        ScheduleSettings,
        Secret,
        Settings,
    )

__all__ = [
    "ApiSettings",
    "App",
    "AuthSettings",
    "DatabaseSettings",
    "MaiaSyncError",
    "RunReport",
    "ScheduleSettings",
    "Secret",
    "SentMessage",
    "Settings",
    "VerifyReport",
    "__version__",
    "load_settings",
    "open_app",
]

_HOMES = {
    "App": "app",
    "open_app": "app",
    "load_settings": "config",
    "MaiaSyncError": "errors",
    "RunReport": "model",
    "SentMessage": "model",
    "VerifyReport": "model",
}
"""Of what does not live in `settings`."""


if not TYPE_CHECKING:  # or a type checker would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'settings')}"), name)

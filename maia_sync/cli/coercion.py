"""What becomes of a value from the command line? What was not given, and a text, stay what they are.

Typer asks pydantic about each value, and loading that takes longer than all else that `maia-sync sync --help`
does. So it is left to Typer only where there is something to convert, as Typer itself does with flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer


def coerce_at_need(parameters: list[Any]) -> list[Any]:
    """Return a verb's parameters, made to look at each value before they load what converts it.

    A Typer that has not the attribute which this rests on is left as it is, and only starts more slowly.
    """
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", parameter) is None:
            parameter._runtime_param = _Coercion()  # noqa: SLF001 - Typer has no seam for it
    return parameters


class _Coercion:
    """Stands where Typer keeps its own, which it makes at the first value, whatever that is."""

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        """Return a parameter's value; raises what Typer's own does."""
        is_many = param.multiple or param.nargs == -1
        if value is None:
            return () if is_many else None
        wanted = getattr(getattr(param, "type_descriptor", None), "annotation", None)
        if wanted is str and isinstance(value, str):
            return value
        if wanted == list[str] and isinstance(value, (tuple, list)):
            return list(value)
        param._runtime_param = None  # noqa: SLF001 - then Typer makes its own
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)

"""Which facet does the name of a value suggest? Names are compared without regard to their spelling.

`agentName`, `agent_name`, `AGENT-NAME` and `agent.name` are the same words. A name suggests a facet where it
ends in one of the facet's known names, and nothing before that gives it another sense: the `type` of an error
is no event type, and what stands in a tool's arguments says nothing about the event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Steps = tuple[str | int, ...]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W\d_A-Za-z]+")
_SEGMENTS = re.compile(r"[./:]")
_MOST_DIGITS = 3
_LONGEST_READ = 80

# Names in the order of their weight: certain ones, those that may mean something else, and those that say
# something only within an event of the right kind. A name of one word needs the right surroundings.
_KNOWN: Final[dict[str, tuple[str, str, str]]] = {
    "event_type": (
        """type, event type, event kind, event name, message type, message kind, msg type, msg kind,
        record type, entry type, step type, item type, log type, activity type, operation name,
        at type""",
        "kind, event, operation, category, action, action type, span kind, class",
        "",
    ),
    "actor": (
        """role, actor, author role, sender role, actor role, actor type, sender type, author type,
        message role, speaker role, role name""",
        "author, sender, speaker, who, participant",
        "source, from, origin, by",
    ),
    "user_id": (
        "user id, end user id, user identifier, user key",
        """uid, user name, user email, user login, account id, customer id, initiator id,
        requester id, created by, requested by""",
        "user, login, initiator, requester",
    ),
    "agent_name": (
        "agent name, assistant name, bot name, agent display name",
        "agent id, assistant id, persona, agent label",
        "agent, assistant, bot",
    ),
    "model": (
        """model, model name, model id, request model, response model, llm, llm name, llm model,
        language model, ai model""",
        "engine, deployment, deployment name, model version, foundation model",
        "",
    ),
    "tool_name": (
        """tool name, function name, tool call name, tool calls name, tool use name, function call name,
        tool id, plugin name, skill name""",
        "tool, function, plugin, skill, command name, component name",
        "name, action, command",
    ),
    "tool_call_id": (
        """tool call id, tool use id, tool calls id, function call id, tool invocation id,
        tool execution id, tool request id, tool run id""",
        "call id, invocation id, tool call, call ref, call reference",
        "id, call, ref, reference",
    ),
    "status": (
        "status, state, outcome, task status, tool status, result status, run status, completion status",
        "verdict, conclusion, disposition, result code",
        "",
    ),
    "error_type": (
        """error type, error code, error kind, error name, error class, error category,
        exception type, exception class, exception name, error status, err code, err type""",
        "exception, failure type, failure code, fault code, fault, errno, failure kind",
        "code, name, class, kind, error",
    ),
    "is_error": (
        "is error, has error, error flag, errored, is failed, is failure, has failed",
        "failed, error, exception, failure, error type, exception type",
        "",
    ),
    "input_tokens": (
        """input tokens, prompt tokens, tokens input, tokens prompt, tokens in, input token count,
        prompt token count, token count prompt, token count input, num input tokens, usage input,
        usage prompt, token input, token prompt""",
        "in tokens, request tokens, prompt eval count, tokens read, tokens sent, query tokens",
        "",
    ),
    "output_tokens": (
        """output tokens, completion tokens, tokens output, tokens completion, tokens out,
        output token count, completion token count, token count completion, token count output,
        num output tokens, usage output, usage completion, candidates token count, token output,
        token completion""",
        """out tokens, response tokens, generated tokens, eval count, tokens written,
        tokens generated, tokens received, answer tokens, tokens response""",
        "",
    ),
}
FACETS: Final = (*_KNOWN, "duration_ms", "cost")
"""Every facet whose paths can be guessed."""

_UNITS: Final = {
    "ms, msec, msecs, millis, milli, millisecond, milliseconds": None,
    "s, sec, secs, second, seconds": 1000.0,
    "min, mins, minute, minutes": 60_000.0,
    "h, hour, hours": 3_600_000.0,
    "us, usec, usecs, micros, microsecond, microseconds": 0.001,
    "ns, nsec, nanos, nanosecond, nanoseconds": 0.000001,
}
_SPANS: Final = """duration, elapsed, elapsed time, time elapsed, latency, took, time taken, run time,
    execution time, response time, wall time, processing time, exec time, wall clock, time spent,
    call time"""
_MONEY: Final = {
    "usd, dollars, dollar, eur, euro, euros, gbp, amount, value, total": None,
    "cents, cent": 0.01,
    "micros, micro usd, micro dollars": 0.000001,
}
_PRICES: Final = "cost, costs, price, spend, charge, total cost"


def _listed(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


_PLAIN = frozenset(
    _listed(
        """message, msg, event, item, entry, record, log, step, data, payload, attributes, attribute,
        attrs, properties, props, meta, metadata, header, headers, body, info, details, detail,
        usage, context, current, last, the, my, total, agg, overall, gen, ai, genai, gen_ai, llm,
        maia, run, task, call, request, response, query, api, chat, completion, span, resource,
        metrics, stats, statistics, timing, timings, response_metadata, usage_metadata, token,
        tokens, in, of, activity, envelope, content, choice, choices, trace, otel, value, object,
        tool"""
    )
)
"""Words that say nothing about whose the value behind them is."""
_FOREIGN = frozenset(
    _listed(
        """arguments, args, arg, argument, input, inputs, parameters, params, param, kwargs, schema,
        input_schema, attachments, attachment, tools, columns, fields, rows, definition,
        definitions"""
    )
)
"""Within these stands what a tool was told, or what the agent was shown: not what happened."""
_RETURNED = frozenset(_listed("result, results, output, outputs, return, returned, response, answer"))


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """That a path may lead to a facet."""

    weight: int
    """0 for a name that says it, 1 for one that may say it, 2 for one that needs the right kind of event."""
    certain: bool
    """Whether nothing that stands before the name is unknown."""
    factor: float | None = None
    unit: bool = True
    """Whether a duration's name tells its unit."""


class _Name(msgspec.Struct, frozen=True):
    suggestion: Suggestion
    single: bool


def looks_like_word(text: str) -> bool:
    """Tell whether a text may be shown as a word: short, of letters, few digits, `_`, `.` and `-`; no id."""
    return (
        _WORD.fullmatch(text) is not None
        and any(character.isalpha() for character in text)
        and sum(character.isdigit() for character in text) <= _MOST_DIGITS
    )


def may_hold_words(steps: Steps) -> bool:
    """Tell whether a path's name says that an event's type, role or status stands there."""
    return may_hold_types(steps) or suggestion_for("actor", steps) is not None


def may_hold_types(steps: Steps) -> bool:
    """Tell whether a path's name says that an event's type or status stands there."""
    return any(suggestion_for(facet, steps) is not None for facet in ("event_type", "status"))


def letters_of(text: str) -> str:
    """Return what of a name or word counts when it is compared."""
    return "".join(character for character in text.casefold() if character.isalnum())


def words_of(name: str) -> list[str]:
    """Return the words of which a name is made: `toolCallID` is tool, call, id."""
    return [word.lower() for word in _WORDS.findall(name[:_LONGEST_READ])]


@lru_cache(maxsize=50_000)
def suggestion_for(facet: str, steps: Steps) -> Suggestion | None:
    """Return what a path's names say about one facet; None if nothing."""
    segments = [words for step in steps if isinstance(step, str) for words in _segments_of(step)]
    if not segments or isinstance(steps[-1], int):  # an item of a list is one of several
        return None
    if any("_".join(words) in _FOREIGN for words in segments[:-1]):
        return None
    places = [(at, inner) for at, words in enumerate(segments) for inner in range(len(words))]
    for at, inner in places:  # from the longest ending to the shortest
        ending = "".join(word for words in (segments[at][inner:], *segments[at + 1 :]) for word in words)
        known = _NAMES[facet].get(ending)
        if known is not None:
            return _judged(facet, known, segments[at][:inner], segments[:at])
    return None


def _judged(facet: str, known: _Name, before: list[str], outside: list[list[str]]) -> Suggestion | None:
    """Return the suggestion of a name, given the words before it and the names around it."""
    if not all(word in _PLAIN for word in before):
        return None
    around = [words for words in outside[-1:] if "_".join(words) not in _PLAIN]
    strange = any(word not in _PLAIN for words in around for word in words)
    returned = any("_".join(words) in _RETURNED for words in outside)
    if (strange or returned) and facet == "event_type":
        return None
    if strange and known.single and facet not in ("model", "is_error"):
        return None
    certain = not strange and not returned
    return msgspec.structs.replace(known.suggestion, certain=certain)


def _segments_of(step: str) -> Iterator[list[str]]:
    for part in _SEGMENTS.split(step[:_LONGEST_READ]):
        words = words_of(part)
        if words:
            yield words


# ------------------------------------------------------------------ the tables, spelt out


def _names_of(facet: str) -> dict[str, _Name]:
    names: dict[str, _Name] = {}
    for weight, spellings in enumerate(_KNOWN[facet]):
        for spelling in _listed(spellings):
            suggestion = Suggestion(weight=weight, certain=True)
            names.setdefault(letters_of(spelling), _Name(suggestion, " " not in spelling))
    return names


def _durations() -> dict[str, _Name]:
    names: dict[str, _Name] = {}
    for units, factor in _UNITS.items():
        told = Suggestion(weight=0, certain=True, factor=factor)
        for span, unit in product(_listed(f"{_SPANS}, time, timing"), _listed(units)):
            for spelling in (f"{span} {unit}", f"{span} in {unit}", f"{unit} {span}"):
                names.setdefault(letters_of(spelling), _Name(told, single=False))
    untold = Suggestion(weight=1, certain=True, unit=False)
    for span in _listed(_SPANS):
        names.setdefault(letters_of(span), _Name(untold, single=" " not in span))
    return names


def _costs() -> dict[str, _Name]:
    names: dict[str, _Name] = {}
    for currencies, factor in _MONEY.items():
        told = Suggestion(weight=0, certain=True, factor=factor)
        for price, currency in product(_listed(_PRICES), _listed(currencies)):
            for spelling in (f"{price} {currency}", f"{price} in {currency}", f"{currency} {price}"):
                names.setdefault(letters_of(spelling), _Name(told, single=False))
    for price in _listed(_PRICES):
        plain = Suggestion(weight=0, certain=True)
        names.setdefault(letters_of(price), _Name(plain, single=" " not in price))
    return names


_NAMES: Final[dict[str, dict[str, _Name]]] = {
    **{facet: _names_of(facet) for facet in _KNOWN},
    "duration_ms": _durations(),
    "cost": _costs(),
}

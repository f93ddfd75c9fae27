"""What does a word for an event's type, role or status mean? Judged by the words within it.

What is in one of the configured lists means what that list says. Any other word is taken apart:
`tool_use_start` has a tool and a use, `assistantReply` an assistant. What stays doubtful is sorted nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maia_sync.analytics.naming import letters_of, words_of
from maia_sync.facet_settings import FacetsSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

ACTOR_LISTS: Final = ("user_words", "agent_words", "tool_words")
KIND_LISTS: Final = (
    "message_words",
    "plan_words",
    "tool_call_words",
    "tool_result_words",
    "error_words",
    "usage_words",
    "status_words",
)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_USER: Final = _set("user users human person customer client operator enduser")
_AGENT: Final = _set("agent assistant ai bot model llm maia copilot chatbot subagent")
_TOOL: Final = _set(
    """tool tools function func plugin skill toolcall tooluse toolcalls toolresult toolresponse"""
)
_SPEAKING: Final = _set(
    """message messages msg text chat prompt answer question reply utterance completion response say
    says said ask asked asks input output turn content speech"""
)
_PLAN: Final = _set(
    """plan planning planned plans thought thoughts thinking think reasoning reason reflection reflect todo"""
)
_CALL: Final = _set(
    """call calls called calling use uses used request requested invoke invoked invocation start
    started begin execute execution run input dispatch toolcall tooluse toolcalls"""
)
_RETURN: Final = _set(
    """result results response output return returned returns end ended finish finished complete
    completed done observation answer reply toolresult toolresponse"""
)
_ERROR: Final = _set("error errors exception failure failed fail fault err crash crashed traceback panic")
_USAGE: Final = _set("usage token tokens cost costs billing metering consumption")
_STATUS: Final = _set(
    """status state progress lifecycle heartbeat started start ended end completed complete finished
    finish cancelled canceled paused resumed created closed opened transition done running idle
    stage phase"""
)
_FAILED: Final = _set(
    """failed failure error errored fail fails timeout timedout aborted abort rejected denied crashed
    exception invalid killed unsuccessful broken ko fatal faulted unauthorized forbidden"""
)
_TO: Final = _set("to for from ask asks asking by with")
_USUAL: Final = FacetsSettings()
_NOT: Final = _set("no non not without never un zero")


def known_list(word: str, known: FacetsSettings, lists: Iterable[str]) -> str | None:
    """Return the first of these configured lists that has a word, however it is spelt."""
    wanted = letters_of(word)
    return next((name for name in lists if wanted in map(letters_of, getattr(known, name))), None)


def kind_list_of(word: str, known: FacetsSettings) -> str | None:  # noqa: PLR0911 - one return to a kind
    """Return the list to which a word at an event's type belongs by what happened; None if that is open."""
    configured = known_list(word, known, KIND_LISTS)
    if configured is not None:
        return configured
    words = frozenset(words_of(word))
    if words & _NOT:
        return None
    if words & _TOOL:
        return _kind_of_tool(words)
    if words & _ERROR:
        return "error_words"
    if "observation" in words:
        return "tool_result_words"
    if words & _PLAN:
        return "plan_words"
    if words & _USAGE:
        return "usage_words"
    if words & _SPEAKING or words <= _USER | _AGENT:
        return "message_words"
    if words & _STATUS:
        return "status_words"
    return None


def _kind_of_tool(words: frozenset[str]) -> str | None:
    """Return what a word with a tool in it tells; a bare `tool` is what the tool says."""
    if words & _RETURN or words <= _TOOL - _CALL:
        return "tool_result_words"
    if words & _ERROR:
        return "error_words"
    return "tool_call_words" if words & _CALL else None


def actor_list_of(word: str, known: FacetsSettings) -> str | None:
    """Return the list to which a role, or a word at an event's type, belongs by whose it is; None if open."""
    configured = known_list(word, known, ACTOR_LISTS)
    if configured is not None:
        return configured
    found = words_of(word)
    words = frozenset(found)
    if words & (_TO | _NOT):
        return None
    told = [name for name, meant in (("user_words", _USER), ("agent_words", _AGENT)) if words & meant]
    if len(told) == 1 and not words & _TOOL:
        return told[0]
    return "tool_words" if words and words <= _TOOL and not words & _CALL else None


def tells_a_role(word: str) -> bool:
    """Tell whether a word is one by which a user, an agent or a tool is usually called."""
    return actor_list_of(word, _USUAL) is not None


def tells_failure(word: str, known: FacetsSettings) -> bool:
    """Tell whether a status says that something failed."""
    if known_list(word, known, ("failed_words",)) is not None:
        return True
    words = words_of(word)
    joined = {"".join(words[at : at + 2]) for at in range(len(words))}  # timed_out, un_successful
    negated = frozenset(words) & _NOT
    return not negated and bool((frozenset(words) | joined) & (_FAILED | {"timedout"}))

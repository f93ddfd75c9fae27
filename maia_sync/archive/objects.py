"""How does an archive lie in an object store: S3 and what speaks like it, Google's, Azure's?

Credentials, region and endpoint come from the environment, under the names that the clouds' own tools use
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME ...), or from
the machine's role. No message says more of an answer than its status and its code (promise P9).
"""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from maia_sync.archive.background import Background
from maia_sync.archive.limits import most_bytes
from maia_sync.archive.place import FileThere, changed, checked_path, too_large
from maia_sync.config import read_environment
from maia_sync.config_addresses import is_loopback
from maia_sync.errors import ArchiveBusy, ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")
Version: TypeAlias = "dict[str, str]"
"""What a store calls a version of an object, as the library wants it back."""

_THREADS: Final = 16
_MOST_BYTES: Final = 64 << 20
"""That may be on their way at the same time."""
_AT_ONCE: Final = 1000
"""Files that one request deletes."""
_ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "GOOGLE_BASE_URL",
)
_STATUS: Final = re.compile(r"status(?: code)?:? ?\"?([1-5][0-9]{2})\b", re.IGNORECASE)
_CODE: Final = re.compile(r"<Code>([A-Za-z]{3,60})</Code>")
_PATIENCE: Final = timedelta(seconds=120)
"""How long one request may take, and how long it is repeated."""


class ObjectPlace:
    """A Place in a bucket or container, under a prefix. Files are sent several at a time."""

    def __init__(self, url: str, *, patience: timedelta = _PATIENCE) -> None:
        self._url = url.rstrip("/")
        self._background = Background(threads=_THREADS, most_weight=_MOST_BYTES)
        self._sending = False
        self._obstore = _library()
        options: dict[str, Any] = {"timeout": patience, "connect_timeout": timedelta(seconds=10)}
        if _is_plain_on_this_machine():
            options["allow_http"] = True
        self._store = self._ask(
            "open",
            "",
            lambda: self._obstore.store.from_url(
                self._url,
                client_options=options,
                config=_checked_sums(self._url),
                retry_config={"max_retries": 6, "retry_timeout": patience},
            ),
        )

    @property
    def name(self) -> str:
        """The URL, in which no credentials can stand."""
        return self._url

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None if there is none."""
        self._wait()
        return self._read(checked_path(path, self.name))

    def _read(self, path: str) -> bytes | None:
        return self._read_version(path)[0]

    def _read_version(self, path: str) -> tuple[bytes | None, Version | None]:
        """Return a file's bytes, and what the store calls this version of it, if it does."""
        most = most_bytes(path)

        def get() -> tuple[bytes, Version | None]:
            answer = self._obstore.get(self._store, path)
            meta = answer.meta
            if meta["size"] > most:
                raise too_large(self.name, path, meta["size"], most)
            named: Version = {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}
            return bytes(answer.bytes()), named or None

        try:
            return self._ask("read", path, get)
        except _NotThereError:
            return None, None

    def write_new(self, path: str, content: bytes) -> None:
        """Begin to write a file that is not there yet; `settle` waits until it is."""
        checked_path(path, self.name)
        self._sending = True
        self._background.do(partial(self._create, path, content), len(content))

    def _create(self, path: str, content: bytes) -> None:
        try:
            self._put(path, content, "create")
        except _ThereError as error:
            # The answer to a first attempt may have been lost: then what is there is ours.
            if self._read(path) != content:
                message = f"{self.name}: {path} is there already: is another process writing?"
                raise ArchiveBusy(message) from error

    def replace(self, path: str, content: bytes) -> None:
        """Write a file, or put it in the place of what has its name, at once and durably."""
        checked_path(path, self.name)
        self._wait()
        self._put(path, content, "overwrite")

    def swap(self, path: str, old: bytes | None, new: bytes) -> None:
        """Do as `replace`, if `old` is what the file holds, on a condition that the store looks after.

        A store that knows no conditions is asked just before, which leaves a moment.
        """
        checked_path(path, self.name)
        self._wait()
        held, version = self._read_version(path)
        if held != old:
            raise changed(self.name, path)
        try:
            self._put(path, new, "create" if held is None else version or "overwrite")
        except (_ThereError, _NotThereError) as error:
            # The answer to a first attempt may have been lost: then what is there is ours.
            if self._read(path) != new:
                raise changed(self.name, path) from error
        except _UnsupportedError:
            self._put(path, new, "overwrite")

    def _put(self, path: str, content: bytes, mode: Literal["create", "overwrite"] | Version) -> None:
        def put() -> object:
            return self._obstore.put(self._store, path, content, mode=mode, use_multipart=False)

        self._ask("write", path, put)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are not there do not matter."""
        self._wait()
        waiting = [checked_path(path, self.name) for path in paths]
        for begin in range(0, len(waiting), _AT_ONCE):
            some = waiting[begin : begin + _AT_ONCE]
            try:
                self._ask("delete", some[0], partial(self._obstore.delete, self._store, some))
            except _NotThereError:  # some stores say so
                for path in some:
                    self._delete_one(path)

    def _delete_one(self, path: str) -> None:
        with suppress(_NotThereError):
            self._ask("delete", path, partial(self._obstore.delete, self._store, path))

    def list(self, prefix: str = "") -> Iterator[FileThere]:
        """Yield the files below a folder's path, or all."""
        self._wait()
        under = prefix.rstrip("/") or None
        pages = iter(self._ask("list", prefix, partial(self._obstore.list, self._store, prefix=under)))
        while (page := self._ask("list", prefix, partial(next, pages, None))) is not None:
            for each in page:
                yield FileThere(each["path"], each["size"])

    def settle(self) -> None:
        """Wait until whatever `write_new` was given is there."""
        self._wait()

    def lock(self) -> AbstractContextManager[bool]:
        """Lock nothing: an object store cannot."""
        return nullcontext(enter_result=False)

    def _wait(self) -> None:
        if self._sending:
            self._background.wait()
            self._sending = False

    def _ask(self, verb: str, path: str, request: Callable[[], T]) -> T:
        """Return what a request brings; the library's errors become ours here and nowhere else."""
        errors = self._obstore.exceptions
        try:
            return request()
        except (errors.NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" not in str(error) and path:
                raise _NotThereError(self._sentence(verb, path, "it is not there")) from None
            raise ArchiveError(self._sentence(verb, path, "there is no such bucket")) from None
        except (errors.AlreadyExistsError, errors.PreconditionError):
            raise _ThereError(self._sentence(verb, path, "it is there already")) from None
        except (errors.BaseError, NotImplementedError, OSError, ValueError) as error:
            # Without its cause: the library's texts quote addresses, headers and answers.
            sentence = self._sentence(verb, path, _reason(error))
            if isinstance(error, (errors.NotSupportedError, NotImplementedError)) or _is_unknown(error):
                raise _UnsupportedError(sentence) from None
            raise ArchiveError(sentence) from None

    def _sentence(self, verb: str, path: str, reason: str) -> str:
        return f"cannot {verb} {self._url}{'/' if path else ''}{path}: {reason}"


class _NotThereError(ArchiveError):
    """There is no such object."""


class _ThereError(ArchiveError):
    """There is such an object, or another version of it than was named."""


class _UnsupportedError(ArchiveError):
    """The store, or the library, knows no such request."""


def _library() -> Any:
    try:
        import obstore  # noqa: PLC0415 - optional, and slow to load
        import obstore.exceptions  # noqa: PLC0415
        import obstore.store  # noqa: PLC0415
    except ImportError as error:
        raise ArchiveError("the archive needs more packages: pip install 'maia-sync[archive]'") from error
    return obstore


def _checked_sums(url: str) -> dict[str, str]:
    """Have S3 compare what arrives with its SHA-256, as a bucket under object lock wants it.

    AWS_CHECKSUM_ALGORITHM in the environment may choose another, for a server that cannot.
    """
    is_s3 = url.startswith("s3:") and "AWS_CHECKSUM_ALGORITHM" not in read_environment()
    return {"checksum_algorithm": "SHA256"} if is_s3 else {}


def _is_plain_on_this_machine() -> bool:
    """Whether the environment names an endpoint with http:// that never leaves this machine."""
    environ = read_environment()
    named = next((environ[name] for name in _ENDPOINTS if environ.get(name)), "")
    parts = urlsplit(named)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


_SIGNS: Final = (
    ("NoSuchBucket", "there is no such bucket"),
    ("169.254.169.254", "no credentials are in the environment, and this machine has no role"),
    ("MissingAccount", "AZURE_STORAGE_ACCOUNT_NAME is not set"),
    ("BareRedirect", "is this the bucket's region (AWS_REGION)?"),
    ("kind: Timeout", "it does not answer in time"),
    ("kind: Connect", "it cannot be reached"),
)
"""What stands in a library's text, and what that means."""
_KINDS: Final = {
    "UnauthenticatedError": "the credentials are missing or not accepted",
    "PermissionDeniedError": "the credentials do not allow it",
    "UnknownConfigurationKeyError": "the environment has a setting for it that nobody knows",
    "ValueError": "the address cannot be used",
}


def _is_unknown(error: Exception) -> bool:
    """Tell whether a store has answered that it does not know what was asked for."""
    status = _STATUS.search(str(error))
    return (status is not None and status[1] == "501") or "not implemented" in str(error).lower()


def _reason(error: Exception) -> str:
    """Return what may be said of a library's error."""
    text = str(error)
    other = _KINDS.get(type(error).__name__, "it does not answer as it should")
    reason = next((meaning for sign, meaning in _SIGNS if sign in text), other)
    told = [match[1] for match in (_STATUS.search(text), _CODE.search(text)) if match]
    return f"{reason} ({', '.join(told)})" if told else reason

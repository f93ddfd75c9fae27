"""Which errors are there, and what does the caller do next?

The tree is branched by the caller's next step, not by the place where the error arose:

    MaiaSyncError                      exit 1
    ├── RetryLater                     exit 1   may pass by itself: wait, ask again
    │   ├── UpstreamBusy                        503, with the wait it asked for
    │   │   └── TooManyRequests                 429: everything waits
    │   ├── UpstreamFault                       500, 502 or another 5xx
    │   │   └── UpstreamTimedOut                504: fewer events may be answered in time
    │   ├── UpstreamSilent                      no answer: a broken connection, a timeout
    │   │   ├── NotConnected                    no connection could be made at all
    │   │   └── AnswerTooSlow                   nothing came in time, or not all of it
    │   ├── BrokenPage                          a 200 whose body is not a page
    │   │   └── PageTooLarge                    larger than we take: fewer events may fit
    │   └── SignInFailed                        no access token just now; nothing was asked of the API
    ├── GiveUpTask                     exit 1   this task fails in this run, the others go on
    │   ├── TaskForbidden                       403
    │   ├── TaskMissing                         404
    │   ├── RequestRefused                      400 or another 4xx
    │   │   └── TokenRefused                    400 on a page token
    │   ├── RetriesExhausted                    a RetryLater that did not pass
    │   ├── LogLoops                            tokens that lead nowhere
    │   ├── LeaseLost                           another worker has the task now
    │   └── DigestKeyMissing                    payloads were removed, and their digests' key is not here
    ├── OperatorMustAct                         nothing goes on until a person does something
    │   ├── UsageError                 exit 2
    │   ├── ConfigError                exit 3   every problem at once
    │   ├── CredentialsRefused         exit 4   401
    │   ├── DatabaseError              exit 5
    │   │   ├── DatabaseUnreachable             no connection is to be had; may pass by itself
    │   │   │   └── DatabaseLost                a transaction was cut off: it may be done again, whole
    │   │   ├── DatabaseFull                    no room is left on its disk
    │   │   ├── DatabaseNotMigrated
    │   │   ├── DatabaseTooNew
    │   │   └── DatabaseUnfinished              it is being restored, and not all of it is there
    │   ├── UpstreamUnreachable        exit 6   no task got an answer, or so many in a row failed
    │   └── ArchiveError               exit 1   the archive cannot be read, written or used as it is
    │       ├── ArchiveBusy                     another process is writing it
    │       ├── ArchiveHeld                     a legal hold forbids what was asked
    │       └── ArchiveDiffers         exit 7   it is not what it was: altered, or rolled back
    ├── OutcomeUnknown                 exit 1   a message left, and nobody knows what became of it
    ├── KeysTaken                      exit 1   inner: keys taken to be new are stored; look first
    └── Bug                            exit 1   an invariant of ours is broken: report it

No message carries a payload, a secret, a bearer token or a page token (promise P9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_CREDENTIALS = 4
EXIT_DATABASE = 5
EXIT_UPSTREAM = 6
EXIT_DIFFERENCE = 7
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class MaiaSyncError(Exception):
    """Anything that maia-sync raises on purpose; its text is one sentence for a person."""

    exit_code: ClassVar[int] = EXIT_FAILED


class RetryLater(MaiaSyncError):
    """May pass by itself: the same request can be made again after a wait."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that upstream asked us to wait, or None."""


class UpstreamBusy(RetryLater):
    """The API answered 503, or 429."""


class TooManyRequests(UpstreamBusy):
    """429: the whole process asks too often, not one task."""


class UpstreamFault(RetryLater):
    """The API answered with another 5xx."""


class UpstreamTimedOut(UpstreamFault):
    """504: what the API asks itself did not answer in time; it may for fewer events."""


class UpstreamSilent(RetryLater):
    """No answer came: no connection, one that broke before there was an answer, or a timeout."""


class NotConnected(UpstreamSilent):
    """No connection could be made, so no task is to blame and nothing was sent."""


class AnswerTooSlow(UpstreamSilent):
    """Nothing came within api.timeout, or not everything within api.page_deadline."""


class BrokenPage(RetryLater):
    """A 200 whose body is not a page, or broke off; never taken for the end of a log."""


class PageTooLarge(BrokenPage):
    """An answer larger than api.max_page_bytes; one of fewer events may fit."""


class SignInFailed(RetryLater):
    """No access token can be had just now: the sign-in server is busy, broken or unreachable.

    The request that needs the token has not been sent.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, unconnected: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
        self.unconnected = unconnected
        """Whether no connection to the sign-in server could be made."""


class GiveUpTask(MaiaSyncError):
    """This task fails in this run; what is stored stays, the other tasks go on."""


class TaskForbidden(GiveUpTask):
    """403: the credentials may not read this task."""


class TaskMissing(GiveUpTask):
    """404: upstream knows no such task."""


class RequestRefused(GiveUpTask):
    """400 or another 4xx: upstream will not answer this request, however often it is made."""


class TokenRefused(RequestRefused):
    """400 on a request with a page token: the token may have expired."""


class RetriesExhausted(GiveUpTask):
    """A RetryLater that did not pass; `__cause__` is the last one."""


class LogLoops(GiveUpTask):
    """The page tokens lead nowhere: a cycle, or page after page without progress."""


class LeaseLost(GiveUpTask):
    """Another worker has taken the task; nothing of this worker's page was written."""


class DigestKeyMissing(GiveUpTask):
    """Payloads of the task were pruned or erased, and the key to know them again is not here."""


class OperatorMustAct(MaiaSyncError):
    """Nothing goes on until a person does something."""


class UsageError(OperatorMustAct):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class ConfigError(OperatorMustAct):
    """The configuration cannot be used; carries every problem, one sentence each."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class CredentialsRefused(OperatorMustAct):
    """401, or no credential can be had."""

    exit_code = EXIT_CREDENTIALS


class DatabaseError(OperatorMustAct):
    """The database cannot be used as it is."""

    exit_code = EXIT_DATABASE


class DatabaseUnreachable(DatabaseError):
    """No connection, a refused one, or a file that cannot be read or written; it may pass by itself."""


class DatabaseLost(DatabaseUnreachable):
    """A transaction was cut off by something that may pass by itself: the whole of it may be done again.

    The server stopped, failed over, closed the connection or takes no changes just now; it gave the
    transaction up (a deadlock, a timeout); or another process has kept SQLite's file locked.
    """

    def __init__(self, message: str, *, commit_unknown: bool = False) -> None:
        super().__init__(message)
        self.commit_unknown = commit_unknown
        """Whether COMMIT had been sent and nobody knows what became of it; otherwise nothing was written."""


class DatabaseFull(DatabaseError):
    """No room is left on the disk where the database lies; what was being written has been rolled back."""


class DatabaseNotMigrated(DatabaseError):
    """The schema is missing or older than this version."""


class DatabaseTooNew(DatabaseError):
    """The schema was made by a newer version."""


class DatabaseUnfinished(DatabaseError):
    """It is being restored from an archive, or that was cut off: not all of it is there yet."""


class UpstreamUnreachable(OperatorMustAct):
    """No task got an answer from the API, or so many in a row failed that it is plainly down."""

    exit_code = EXIT_UPSTREAM


class ArchiveError(OperatorMustAct):
    """The archive cannot be read, written or used as it is."""


class ArchiveBusy(ArchiveError):
    """Another process is writing the archive."""


class ArchiveHeld(ArchiveError):
    """A legal hold forbids what was asked."""


class ArchiveDiffers(ArchiveError):
    """The archive is not what it was when it was written: damaged, altered, or rolled back."""

    exit_code = EXIT_DIFFERENCE


class OutcomeUnknown(MaiaSyncError):
    """A message left, and no answer tells whether it was taken in; sending it again might double it."""


class KeysTaken(MaiaSyncError):
    """Rows that were taken to be new have keys that are stored; the transaction is undone.

    Never leaves a walk: the page is written again, with its keys looked up first.
    """


class Bug(MaiaSyncError):
    """An invariant of ours is broken; what was being written has been rolled back."""

"""The errors of geoetl. The class says who must act, and whether trying again can help."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

type Blame = Literal["user", "data owner", "nobody", "us"]


class Finding(BaseModel):
    """One result of a check: what was tried on what, what was found, what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    """Stable kebab-case name of the problem, for example ``blob-missing``."""
    message: str
    """One sentence: what was tried, on which object, what was found."""
    hint: str = ""
    """What the reader can do about it."""
    parameter: str = ""
    """Path to the parameter that caused it, for example ``sources[3]``; empty where none did."""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f" ({self.parameter})" if self.parameter else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"[{self.code}]{where} {self.message}{hint}"


class GeoEtlError(Exception):
    """Root of every error geoetl raises on purpose."""

    #: Whether another attempt of the same work may succeed.
    retryable: ClassVar[bool] = False
    blame: ClassVar[Blame] = "us"
    #: The ``code`` where the raiser names none.
    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Celery and billiard pickle exceptions across processes; keyword-only arguments need help there.
        return (_rebuild, (type(self), self.message, self.code, self.hint))


def _rebuild(cls: type[GeoEtlError], message: str, code: str, hint: str) -> GeoEtlError:
    return cls(message, code=code, hint=hint)


class InvalidInput(GeoEtlError):
    """The request cannot be accepted as it is. The user must change it."""

    blame = "user"
    default_code = "invalid-input"


class PreflightFailed(InvalidInput):
    """Checks found reasons not to accept a job; ``findings`` holds all of them."""

    default_code = "preflight-failed"

    def __init__(self, message: str, *, findings: tuple[Finding, ...] = (), code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.findings = findings

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_preflight, (self.message, self.findings, self.code, self.hint))


def _rebuild_preflight(message: str, findings: tuple[Finding, ...], code: str, hint: str) -> PreflightFailed:
    return PreflightFailed(message, findings=findings, code=code, hint=hint)


class NotFound(InvalidInput):
    """Something the user named does not exist."""

    default_code = "not-found"


class BadData(GeoEtlError):
    """The data is broken or cannot be what was asked for. Its owner must act; a retry will not help."""

    blame = "data owner"
    default_code = "bad-data"


class TransientError(GeoEtlError):
    """Something outside is away or busy. Nobody must act; the same work may succeed later."""

    retryable = True
    blame = "nobody"
    default_code = "unavailable"


class OutOfMemory(GeoEtlError):
    """The work needed more memory than it may use. Another attempt holds less at once."""

    retryable = True
    default_code = "out-of-memory"


class SystemFault(GeoEtlError):
    """A defect or a broken installation. We must act."""

    default_code = "system-fault"


class UnknownVersion(SystemFault):
    """The work belongs to another release. A worker of that one may take the next attempt."""

    retryable = True
    default_code = "definition-version"


class LeaseLost(GeoEtlError):
    """This attempt no longer owns its task (reaped, cancelled or superseded): stop, and leave nothing behind."""

    default_code = "lease-lost"

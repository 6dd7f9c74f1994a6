"""Structured logs, and keeping secrets out of whatever is shown or stored."""

import logging
import re
import sys

import structlog

#: How the names of settings, parameters and headers end whose values are secrets.
_CONFIDENTIAL = (
    r"(?: passw(?:or)?d | secret | AccountKey | SharedAccess(?:Key|Signature) | client_assertion"
    r" | (?:access|refresh|id)_token | basic[_-]auth | (?<![a-z])pwd )"
)
_CONFIDENTIAL_NAME = re.compile(rf"(?xi) {_CONFIDENTIAL} $")
#: A name and its value: NAME=x, name = 'x', {"name": "x"}, also inside text that is quoted itself. A quoted value may
#: be cut off at the end of a line; what follows a bare one in a list, or closes a bracket, is not of it. The time it
#: takes is linear in the length of the text.
_NAMED = re.compile(
    rf"""(?xim)
    ( {_CONFIDENTIAL} (?: [ \t]*=[ \t]* | \\*['"]\s*:\s* )
      | \bsig=
      | \bBearer\s+
      | Authorization\\*['"]?\s*[:=]\s*\\*['"]?Basic\s+ )
    (?: (?P<quote>\\+['"]) .*? (?: (?P=quote) | $ )
      | [bru]{{0,2}} (?: '(?:[^'\\\n]++|\\.?|'')*+(?:'|$) | "(?:[^"\\\n]++|\\.?|"")*+(?:"|$) )
      | [^&;\s'"]* [^&;\s'",)}}\]] )
    """
)
#: What a line has at least, in lower case, in which `_NAMED` finds something: looking for that costs little.
_HINTS = ("passw", "secret", "accountkey", "sharedaccess", "assertion", "_token", "basic", "pwd", "sig=", "bearer")
#: The password of a URL. Keys of Service Bus may have slashes, and a port has one behind it.
_IN_URL = re.compile(
    r"""(?x)
    ( ://[^:/@\s\[]*: )
    (?: [^@/\s]++ (?:@[^@/\s]++)* | (?!\d{1,5}/) [^@\s'"]{1,200} | [A-Za-z0-9+/]{43}= ) (?=@)
    """
)


def redact(text: str) -> str:
    """The text with secrets replaced by ``***``."""
    # Every line of a log comes here, and most have nothing that the expressions could find.
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        text = _NAMED.sub(r"\1***", text)
    if "@" in text and "://" in text:
        text = _IN_URL.sub(r"\1***", text)
    return text


#: Fields of a line that are ours, and no secrets.
_PLAIN = frozenset({"job", "run", "stage", "task", "attempt", "level", "timestamp"})


def _redact_line(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Before it is rendered: a secret ends where a quotation mark of the text does, not one that JSON escapes."""
    for name, value in line.items():
        if name not in _PLAIN and not isinstance(value, int | float | None):
            line[name] = _redact_field(name, value)
    return line


def _redact_field(name: str, value: object) -> object:
    """A field without secrets; one that is no text becomes text where it has any, as the renderers would show it."""
    if _CONFIDENTIAL_NAME.search(name):
        return "***"
    shown = value if isinstance(value, str) else repr(value)
    redacted = redact(shown)
    return value if redacted == shown else redacted


def log_attempt(*, job: str, run: str, stage: str, task: str, attempt: int) -> None:
    """Have what this thread logs from now on say which attempt it is about."""
    structlog.contextvars.bind_contextvars(job=job, run=run, stage=stage, task=task, attempt=attempt)


def log_no_attempt() -> None:
    """The attempt of this thread has ended."""
    structlog.contextvars.unbind_contextvars("job", "run", "stage", "task", "attempt")


def configure_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Send structlog and the standard library's logging to stderr, one line an event."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # As text here: the console's own traceback would show the values of variables, passwords among them.
                structlog.processors.format_exc_info,
                _redact_line,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # "Task ... received": a line a task that its end repeats; a busy worker writes thousands. And "Task ... succeeded",
    # retried, ignored: the engine says it in terms of the job. DEBUG shows them.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel("DEBUG" if level == "DEBUG" else "WARNING")
    # One line for every state change of every AMQP frame, at INFO.
    logging.getLogger("azure").setLevel(logging.WARNING)
    # Some lines for every attempt to get a token; geoetl.identity says when they begin to fail, and why.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)

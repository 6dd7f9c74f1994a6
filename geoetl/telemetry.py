"""Structured logs, and keeping secrets out of whatever is shown or stored."""

import logging
import re
import sys

import structlog

#: SAS signatures, account keys, passwords and bearer tokens, wherever a library puts them into a message.
_SECRETS = re.compile(
    r"""(?xi)
    ( \b(?:sig|AccountKey|SharedAccessKey|SharedAccessSignature|client_secret|password|pwd) (?:=|['"]\s*:\s*)
    | \bBearer\s+ )
    (?: '[^']*' | "[^"]*" | [^&;\s'",)}]+ )
    | ( ://[^:/@\s]+: ) [^@/\s]+ (?=@)
    """
)


def redact(text: str) -> str:
    """The text with secrets replaced by ``***``."""
    # Every line of a log comes here, and most have nothing that the expression could begin with.
    if "=" not in text and ":" not in text and "bearer" not in text.lower():
        return text
    return _SECRETS.sub(lambda found: f"{found[1] or found[2]}***", text)


#: Fields of a line that are ours, and no secrets.
_PLAIN = frozenset({"job", "run", "stage", "task", "attempt", "level", "timestamp"})


def _redact_line(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Before it is rendered: a secret ends where a quotation mark of the text does, not one that JSON escapes."""
    for name, value in line.items():
        if isinstance(value, str) and name not in _PLAIN:
            line[name] = redact(value)
    return line


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

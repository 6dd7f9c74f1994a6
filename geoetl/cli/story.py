"""A job's events as sentences: what happened to what, and why."""

from collections.abc import Callable, Mapping
from typing import Any

from geoetl.cli import output
from geoetl.engine.cancel import BY_DEADLINE
from geoetl.engine.rows import Event, task_number


def event_line(event: Event) -> str:
    """One event on one line."""
    at = event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    tell = _TOLD.get(event.what, _anything)
    return f"{at}  {event.what:<15}  {tell(event, event.data)}".rstrip()


def count(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stage(event: Event) -> str:
    return f"stage {event.stage_no + 1} ({event.stage})" if event.stage_no is not None else ""


def _task(event: Event) -> str:
    number = task_number(event.stage_no, event.idx) if event.stage_no is not None and event.idx is not None else ""
    named = f" {event.label}" if event.label else ""
    attempt = f", attempt {event.attempt}" if event.attempt else ""
    return f"{number}{named}{attempt}"


def _error(data: Mapping[str, Any]) -> str:
    return f"[{data.get('code', 'error')}] {data.get('message', '')}"


def _by(data: Mapping[str, Any]) -> str:
    return f" by {data['by']}" if data.get("by") else ""


def _job_submitted(_: Event, data: Mapping[str, Any]) -> str:
    deadline = f", to end within {output.ago(data['deadline_s'])}" if "deadline_s" in data else ""
    return f"run {data['run']}{_by(data)}{deadline}"


def _stage_started(event: Event, data: Mapping[str, Any]) -> str:
    return f"{_stage(event)}, {count(data['tasks'], 'task')}"


def _stage_completed(event: Event, data: Mapping[str, Any]) -> str:
    return f"{_stage(event)}, after {output.ago(data['seconds'])}"


def _stage_failed(event: Event, data: Mapping[str, Any]) -> str:
    return f"{_stage(event)}, {count(data['skipped'], 'waiting task')} skipped"


def _task_started(event: Event, _: Mapping[str, Any]) -> str:
    return f"{_task(event)} on {event.worker}"


def _task_succeeded(event: Event, data: Mapping[str, Any]) -> str:
    left = f"; {count(data['remaining'], 'task')} of the stage left" if data.get("remaining") else ""
    return f"{_task(event)}, after {output.ago(data['seconds'])}{left}"


def _task_retried(event: Event, data: Mapping[str, Any]) -> str:
    return f"{_task(event)}: {_error(data)} Next attempt in {output.ago(data['delay_s'])}."


def _task_failed(event: Event, data: Mapping[str, Any]) -> str:
    return f"{_task(event)}: {_error(data)}"


def _task_stopped(event: Event, _: Mapping[str, Any]) -> str:
    return f"{_task(event)}: its stage had ended"


def _lease_expired(event: Event, _: Mapping[str, Any]) -> str:
    return f"{_task(event)}: {event.worker} stopped reporting, the task is free again"


def _message_dead(event: Event, data: Mapping[str, Any]) -> str:
    times = count(data["deliveries"], "time")
    why = f"{data['reason']} {data['description']}".strip()
    return f"{_task(event)}: queue {data['queue']} gave its message up, delivered {times}: {why}"


def _job_completed(_: Event, data: Mapping[str, Any]) -> str:
    return f"after {output.ago(data['seconds'])}"


def _job_failed(_: Event, data: Mapping[str, Any]) -> str:
    return _error(data)


def _job_cancelled(event: Event, data: Mapping[str, Any]) -> str:
    if data.get("by") == BY_DEADLINE and "deadline_s" in data:
        who = f"past its deadline of {output.ago(data['deadline_s'])}"
    else:
        who = _by(data).strip()
    skipped = f"{count(data['skipped'], 'waiting task')} skipped"
    return ", ".join(part for part in (who, f"in {_stage(event)}", skipped) if part)


def _job_reopened(event: Event, data: Mapping[str, Any]) -> str:
    who = _by(data).strip()
    return ", ".join(part for part in (who, f"at {_stage(event)}", f"{count(data['tasks'], 'task')} to do") if part)


def _anything(event: Event, data: Mapping[str, Any]) -> str:
    """What a later version has written."""
    details = ", ".join(f"{key}={value}" for key, value in data.items() if key != "traceback")
    return f"{_task(event) or _stage(event)}  {details}".strip()


_TOLD: Mapping[str, Callable[[Event, Mapping[str, Any]], str]] = {
    "job submitted": _job_submitted,
    "job completed": _job_completed,
    "job failed": _job_failed,
    "job cancelled": _job_cancelled,
    "job resumed": _job_reopened,
    "job retried": _job_reopened,
    "stage started": _stage_started,
    "stage completed": _stage_completed,
    "stage failed": _stage_failed,
    "task started": _task_started,
    "task succeeded": _task_succeeded,
    "task retried": _task_retried,
    "task failed": _task_failed,
    "task stopped": _task_stopped,
    "lease expired": _lease_expired,
    "message dead-lettered": _message_dead,
}

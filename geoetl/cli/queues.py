"""``geoetl queues``: the Service Bus queues, what waits in them, and what the service gave up on."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer
from azure.core.exceptions import AzureError, HttpResponseError
from azure.servicebus.exceptions import (
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
)

from geoetl.cli import output
from geoetl.config import load_settings
from geoetl.config.broker import BrokerSettings
from geoetl.errors import InvalidInput, NotFound, SystemFault, TransientError
from geoetl.transport.dead_letters import MessageInfo, Messages
from geoetl.transport.queues import MISSING, Queues
from geoetl.worker.broker import declared_queues, service_bus

app = typer.Typer(help="Create, check and look into the Service Bus queues.", no_args_is_help=True)

QueueName = Annotated[str, typer.Argument(help="Name of the queue.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many messages at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def provision(
    update: Annotated[bool, typer.Option(help="Also change existing queues to what the settings say.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create the queues that are missing. Needs the Manage right; workers then need none."""
    broker = load_settings().broker
    declared = declared_queues(broker)
    with _reaching(broker):
        queues = Queues(service_bus(broker))
        created = queues.provision(*declared)
        differences = queues.differences(*declared)
        changed = sorted({each.queue for each in differences}) if update else []
        if update:
            queues.update(*(spec for spec in declared if spec.name in changed))
            differences = []
    if as_json:
        output.print_json({"created": created, "changed": changed, "differences": differences})
        return
    for spec in declared:
        state = "created" if spec.name in created else "changed" if spec.name in changed else "exists"
        output.say(f"{spec.name}  {state}")
    if differences:
        output.note("Some settings differ: `geoetl queues check` shows them, `provision --update` changes them.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Compare the queues with the settings; ends with status 1 when they differ."""
    broker = load_settings().broker
    with _reaching(broker):
        differences = Queues(service_bus(broker)).differences(*declared_queues(broker))
    if as_json:
        output.print_json({"differences": differences})
    elif differences:
        output.table(
            "queue", "setting", "declared", "live",
            rows=[(each.queue, each.setting, each.declared, each.live) for each in differences],
        )  # fmt: skip
        has_missing = any(each.live == MISSING for each in differences)
        output.note(f"`geoetl queues provision{'' if has_missing else ' --update'}` mends this.")
    else:
        output.say("All queues are as declared.")
    if differences:
        raise typer.Exit(output.EXIT_FAILED)


@app.command("list")
def list_queues(as_json: AsJson = False) -> None:
    """List the queues of the namespace and how many messages are in each."""
    broker = load_settings().broker
    declared = {spec.name for spec in declared_queues(broker)}
    with _reaching(broker):
        states = Queues(service_bus(broker)).states()
    if as_json:
        output.print_json([{**output.as_json(each), "declared": each.name in declared} for each in states])
        return
    output.table(
        "queue", "active", "scheduled", "dead letters", "status", "declared",
        rows=[
            (each.name, each.active, each.scheduled, each.dead_lettered, each.status,
             "yes" if each.name in declared else "no")
            for each in states
        ],
    )  # fmt: skip
    if missing := sorted(declared - {each.name for each in states}):
        output.note(f"Missing: {', '.join(missing)}. `geoetl queues provision` creates them.")


@app.command()
def peek(queue: QueueName, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show the oldest messages of a queue without taking them."""
    messages = _peek(queue, limit, dead_letters=False)
    if as_json:
        output.print_json(messages)
        return
    output.table(
        "number", "task", "id", "state", "enqueued", "due", "deliveries", "bytes",
        rows=[
            (each.sequence_number, each.task, each.id, each.state, each.enqueued_at, each.due_at,
             each.delivery_count, each.body_bytes)
            for each in messages
        ],
    )  # fmt: skip
    if not messages:
        output.note("Nothing is in the queue.")


@app.command("dead-letters")
def dead_letters(queue: QueueName, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show what was given up on, and why."""
    messages = _peek(queue, limit, dead_letters=True)
    if as_json:
        output.print_json(messages)
        return
    output.table(
        "number", "task", "id", "enqueued", "deliveries", "reason", "description",
        rows=[
            (each.sequence_number, each.task, each.id, each.enqueued_at, each.delivery_count, each.reason,
             each.description)
            for each in messages
        ],
    )  # fmt: skip
    if not messages:
        output.note("There are no dead letters.")


@app.command()
def requeue(
    queue: QueueName,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this task. Repeatable.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to their queue. A message is sent before it is removed, so none is lost."""
    if bool(ids) == everything:
        raise InvalidInput(
            "Nothing was sent: it is not clear which dead letters are meant.",
            code="which-messages",
            hint="Name tasks with --id, or take --all; `geoetl queues dead-letters` lists them.",
        )
    broker = load_settings().broker
    with _reaching(broker):
        done = Messages(service_bus(broker)).requeue(queue, ids=ids, limit=limit)
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{queue}  {done.sent} sent back, {done.left} left")
    if ids and done.sent < len(ids):
        output.note(f"{len(ids) - done.sent} of the tasks asked for were not among the dead letters.")


def _peek(queue: str, limit: int, *, dead_letters: bool) -> list[MessageInfo]:
    broker = load_settings().broker
    with _reaching(broker):
        return Messages(service_bus(broker)).peek(queue, limit=limit, dead_letters=dead_letters)


@contextmanager
def _reaching(broker: BrokerSettings) -> Generator[None]:
    """Say the SDK's errors in our words."""
    where = broker.namespace or "the namespace of GEOETL_BROKER__CONNECTION_STRING"
    try:
        yield
    except MessagingEntityNotFoundError as error:
        raise NotFound(
            f"{where} has no such queue: {error.message}",
            hint="`geoetl queues list` shows what there is.",
        ) from error
    except (ServiceBusAuthenticationError, ServiceBusAuthorizationError) as error:
        raise SystemFault(
            f"{where} refused the credential: {error.message}",
            code="broker-refused",
            hint="Listing, checking and provisioning need the Manage right, looking needs Listen, requeue also Send.",
        ) from error
    except HttpResponseError as error:
        refused = error.status_code in {401, 403}
        kind = SystemFault if refused or (error.status_code or 500) < 500 else TransientError
        raise kind(
            f"{where} answered {error.status_code}: {error.message}",
            code="broker-refused" if refused else "broker-answer",
            hint="This needs the Manage right." if refused else "",
        ) from error
    except (AzureError, OSError) as error:
        raise TransientError(f"Cannot reach {where}: {error}", code="broker-away") from error

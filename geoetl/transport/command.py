"""`celery servicebus`: the queues behind a broker URL.

An entry point of Celery's command line. Loading it is what makes `celery -b servicebus://… status` know the scheme
where no app imports this package.
"""

from typing import Any

import click


@click.command()
@click.pass_context
def servicebus(context: click.Context) -> None:
    """Show the queues of the Service Bus namespace, with their messages."""
    # The SDK is slow to load, and every `celery` command loads this module.
    from azure.core.exceptions import AzureError  # noqa: PLC0415

    from geoetl.transport.queues import Queues  # noqa: PLC0415
    from geoetl.transport.transport import Transport  # noqa: PLC0415

    celery: Any = context.obj
    with celery.app.connection_for_read() as connection:
        if not isinstance(connection.transport, Transport):
            raise click.ClickException(f"The broker is {connection.as_uri()}; name one of servicebus:// with --broker.")
        try:
            states = Queues(connection.transport.namespace.clients).states()
        except (AzureError, ValueError) as error:
            raise click.ClickException(f"Asking {connection.as_uri()} for its queues failed: {error}") from error
    celery.echo(f"{'queue':40}{'active':>10}{'scheduled':>11}{'dead':>8}")
    for state in sorted(states, key=lambda each: each.name):
        celery.echo(f"{state.name:40}{state.active:>10}{state.scheduled:>11}{state.dead_lettered:>8}")

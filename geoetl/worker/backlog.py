"""What the broker says of its queues."""

from http import HTTPStatus

from azure.core.exceptions import AzureError, HttpResponseError
from celery import Celery
from celery.utils.log import get_logger
from kombu.exceptions import ChannelError

log = get_logger(__name__)
_FORBIDDEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class BrokerBacklog:
    """Asks through the transport; costs an HTTP request or two."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def messages(self, queue: str) -> int | None:
        """Messages of a queue, waiting or with a worker; 0 where there is no queue, or no right to count (Manage)."""
        try:
            with self._app.connection_for_read() as connection:
                return connection.default_channel.queue_declare(queue, passive=True).message_count
        except ChannelError:
            return 0
        except HttpResponseError as exc:
            if exc.status_code in _FORBIDDEN:
                return 0
            log.warning("broker did not count queue=%s: %r", queue, exc)
        except (AzureError, OSError) as exc:
            log.warning("broker did not count queue=%s: %r", queue, exc)
        return None

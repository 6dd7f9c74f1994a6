"""`$cbs`: how a client shows its tokens.

https://docs.oasis-open.org/amqp/amqp-cbs/v1.0/amqp-cbs-v1.0.html
"""

from http import HTTPStatus
from typing import Final

from geoetl.emulator.addresses import entity_path
from geoetl.emulator.conditions import NOT_IMPLEMENTED, UNAUTHORIZED, ServiceBusError
from geoetl.emulator.requests import Answer, Request, RequestLink
from geoetl.emulator.tokens import Grant

#: How long a bearer token counts when its claims are not read.
_JWT_LIFETIME_S: Final = 3600.0


class CbsLink(RequestLink):
    """Where a client puts tokens; what they grant holds for the whole connection."""

    status_name = "status-code"
    description_name = "status-description"
    condition_name = "error-condition"

    def handle_request(self, request: Request) -> Answer:
        operation = request.text("operation")
        if operation != "put-token":
            raise ServiceBusError(NOT_IMPLEMENTED, f"$cbs does not know the operation '{operation}'.")
        audience = entity_path(request.text("name")).lower()
        grant = self._verify(request.value, audience)
        if not grant.covers(audience):
            raise ServiceBusError(UNAUTHORIZED, f"The token is for '{grant.path}', not for '{audience}'.")
        self.session.grants.add(Grant(audience, grant.expires_at))
        return Answer(HTTPStatus.ACCEPTED, "Accepted")

    def _verify(self, token: object, audience: str) -> Grant:
        # The form of the token tells its kind, not the request's `type`: azure-servicebus 7.15 for Python says `jwt`
        # for shared access signatures too.
        policy, now = self.session.broker.policy, self.session.broker.namespace.clock.now()
        if not isinstance(token, str):
            raise ServiceBusError(UNAUTHORIZED, "The token is not a string.")
        if policy.is_jwt_accepted and token.count(".") == 2:
            return Grant(audience, now + _JWT_LIFETIME_S)
        return policy.verify(token, now)

"""The Service Bus transport beside kombu's own, Redis and RabbitMQ: see `docs/reference/transport-benchmark.md`."""

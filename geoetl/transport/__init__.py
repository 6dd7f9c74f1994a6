"""A kombu transport for Azure Service Bus. Stands alone: imports nothing else of geoetl."""

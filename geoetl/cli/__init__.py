"""The ``geoetl`` command."""

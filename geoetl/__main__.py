"""``python -m geoetl``: the ``geoetl`` command."""

from geoetl.cli.main import main

main()

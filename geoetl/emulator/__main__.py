"""`python -m geoetl.emulator`."""

import sys

from geoetl.emulator.command import main

sys.exit(main())

"""The embedded stack: PostgreSQL, Azurite, emulator and workers as subprocesses."""

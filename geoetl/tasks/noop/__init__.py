"""Cores of the ``noop`` job."""

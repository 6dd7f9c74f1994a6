"""Cores of the ``inventory`` job."""

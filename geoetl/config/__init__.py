"""Typed settings, one module per concern."""

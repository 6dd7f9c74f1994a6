"""Statements of the engine."""

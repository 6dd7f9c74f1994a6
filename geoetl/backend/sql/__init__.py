"""Statements of the backend, and its schema."""

"""Checks before a job is accepted, and their findings."""

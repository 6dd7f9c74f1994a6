"""Contracts without I/O: references, states, the task table, inputs and outputs per domain."""

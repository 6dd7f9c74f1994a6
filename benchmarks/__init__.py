"""Measurements, each run by `python -m benchmarks.<area>`. They print figures and assert nothing."""

"""Measurements, each a module to be run: ``python -m benchmarks.raster --quick``."""

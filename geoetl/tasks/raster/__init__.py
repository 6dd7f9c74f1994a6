"""Cores of the raster tasks: inspect a source, convert it to a COG."""

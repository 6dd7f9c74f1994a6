"""Opening rasters safely."""

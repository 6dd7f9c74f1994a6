"""One COG from many tasks: each encodes a band of rows and stages its blocks, the last one commits them all."""

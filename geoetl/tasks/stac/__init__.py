"""Cores of the catalogue task: build STAC items, publish them."""

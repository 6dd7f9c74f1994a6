"""Blobs in Bronze and Silver."""

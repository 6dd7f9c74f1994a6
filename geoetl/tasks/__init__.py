"""The one Celery shell around all cores, and the cores, a folder per domain."""

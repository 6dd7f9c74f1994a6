"""Celery on PostgreSQL: capture, outbox, relay, fenced tasks, results. Stands alone: imports nothing else of geoetl."""

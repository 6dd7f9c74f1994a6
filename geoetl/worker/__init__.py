"""The Celery app and what runs in a worker."""

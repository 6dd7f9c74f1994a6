"""What the engine costs, next to Celery's own chords on Redis and on PostgreSQL."""

"""What ``celery -A celery_app worker`` finds."""

from geoetl.worker.app import create_app

app = create_app()

"""What `celery -A benchmarks.engine.app worker` finds: the shipped app, and the measured job."""

import benchmarks.engine.jobs  # noqa: F401 - registers the job
from celery_app import app

__all__ = ["app"]

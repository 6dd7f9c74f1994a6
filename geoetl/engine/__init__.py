"""Jobs and stages on top of the backend."""

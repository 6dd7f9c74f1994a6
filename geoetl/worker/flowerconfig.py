"""Configuration of Flower: ``celery -A celery_app flower --conf <this file>``, which is what ``geoetl flower`` does.

Options on the command line and ``FLOWER_...`` variables win; see docs/howto/watch-in-flower.md.
"""

import os

from geoetl.transport.flower import register

register()

#: geoetl's workers send events anyway. Asking them to every five seconds would be 17,280 messages a day and worker.
enable_events = False

#: Seconds until a worker that is gone leaves the list: a killed one counts as gone after two missed heartbeats of 30 s.
purge_offline_workers = 60

#: Milliseconds to wait for answers. On Azure the question itself takes some 0.3 s.
inspect_timeout = 2000.0

#: How many tasks are remembered, about 2 KB each.
max_tasks = 20_000

#: The arguments name the source and the step, see engine/messages.py.
tasks_columns = "name,args,kwargs,state,runtime,worker,received"

#: Buckets of the metric of run times, in seconds; Flower's own end at ten.
task_runtime_metric_buckets = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0]

# Flower would let this file win over its variables.
for _name in [name for name in globals() if f"FLOWER_{name.upper()}" in os.environ]:
    del globals()[_name]

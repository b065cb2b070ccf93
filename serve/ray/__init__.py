"""The same batch jobs and the same server on a Ray cluster."""

import os

# Ray reports its use to its makers unless it is told not to; "1" in the environment permits it.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

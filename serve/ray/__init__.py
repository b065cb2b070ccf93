"""The same batch jobs and the same server on a Ray cluster."""

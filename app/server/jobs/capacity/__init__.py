"""Capacity: whether the service can take a job, and when the job may be done."""

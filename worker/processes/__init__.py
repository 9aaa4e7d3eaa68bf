"""Processes: what every process of a worker host needs to start, log, wait and end."""

"""The audit log: a tamper-evident record of who did what."""

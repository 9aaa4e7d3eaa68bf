"""The operator's commands: keys, worker hosts, backups and the audit log."""

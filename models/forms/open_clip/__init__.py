"""Forms of open_clip folders and checkpoints."""

"""What is kept of a roll: attempts, prompts and checkpoints, and where files keep it."""

"""Learning prompts: few-shot, zero-shot and choosing among a bank."""

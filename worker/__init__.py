"""The compute side: certifies images and learns prompts for the jobs in the queue."""

"""Runners: the noise and the image tower of one batch, on the CPU or on a GPU."""

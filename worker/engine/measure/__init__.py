"""Measurements of one model on one device: its eta and its batch shape."""

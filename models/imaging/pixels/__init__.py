"""Decoded pixels: limits, grey values, windows and errors."""

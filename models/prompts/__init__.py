"""Prompts: cards, context vectors, files and learning settings; no torch."""

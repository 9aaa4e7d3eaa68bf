"""Answers: what HTTP shows, and the problems it answers with."""

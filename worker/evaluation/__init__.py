"""Evaluation: the certified accuracy of a dataset."""

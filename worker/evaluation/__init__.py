"""Certified accuracy of a dataset: what was asked, what every image gave, and what it adds up to.

`worker.evaluation.evaluate` runs it; only `clean` needs torch.
"""

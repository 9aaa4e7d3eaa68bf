"""The engine: the one process of a host that holds models and computes votes."""

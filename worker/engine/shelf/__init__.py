"""The shelf: the models an engine holds on its device."""

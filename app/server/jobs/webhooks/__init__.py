"""Webhooks: the end of a job told to an address that the client named."""

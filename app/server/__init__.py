"""The server: everything that answers HTTP."""

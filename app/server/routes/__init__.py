"""Routes: the HTTP endpoints."""

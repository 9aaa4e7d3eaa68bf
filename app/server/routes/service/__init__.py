"""Service: health, metrics and the web pages."""

"""The decoder: untrusted images decoded in bounded processes."""

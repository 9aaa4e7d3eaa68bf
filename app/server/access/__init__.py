"""Access: who sends a request, and what their key allows."""

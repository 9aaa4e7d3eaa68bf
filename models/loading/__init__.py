"""Loading models: from a card and its files to a checked VLM."""

"""Forms of Hugging Face CLIPModel folders and their conversion to open_clip."""

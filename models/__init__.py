"""Vision-language models: their cards, files, images and prompts."""

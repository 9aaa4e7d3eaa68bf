"""Vision-language models: the `VLM` interface, its implementations and the base classifier."""

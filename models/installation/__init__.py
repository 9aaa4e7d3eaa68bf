"""Installing models: adding, downloading, bundling and removing them."""

"""The app: everything of the service except the work on images, which `worker` does."""

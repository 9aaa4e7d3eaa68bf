"""promptsmooth models: the models of an installation."""

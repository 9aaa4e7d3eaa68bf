"""An evaluation whose images a service certifies."""

"""The dossier: what an evaluation showed of a model, for people who were not there."""

"""The dossier of an evaluation: gathered, printed, signed, and checked."""

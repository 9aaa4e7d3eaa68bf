"""Safe file handling: atomic writes, claimed folders and untrusted text; no torch."""

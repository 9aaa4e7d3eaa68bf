"""Sentences that several formats add to a result."""

PROFILE_IGNORED = "The file's colour profile (ICC) was not applied."
ALPHA_ON_BLACK = "Alpha composited on black."

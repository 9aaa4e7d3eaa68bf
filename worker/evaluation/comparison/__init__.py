"""Rows of an evaluation compared image by image; pure functions of certified radii."""

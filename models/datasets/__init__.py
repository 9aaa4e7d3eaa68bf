"""Datasets of labelled images: cards, files and the choice of images; no torch."""

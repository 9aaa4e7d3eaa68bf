"""What a loaded model answers without noise and under attack: what of an evaluation needs torch."""

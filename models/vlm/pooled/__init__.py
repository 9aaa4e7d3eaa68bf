"""Towers whose image feature a learned query pools: SigLIP and CONCH, with their tokenizers."""

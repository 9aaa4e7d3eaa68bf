"""The printed report: pages, figures, texts and the witness."""

"""Ablations: rows of a recipe, their runs, the table of them."""

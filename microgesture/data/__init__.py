"""Data sets: raw labels to clips, FG-Text, and the folder that `load` reads."""

from microgesture.data.clips import load

__all__ = ["load"]

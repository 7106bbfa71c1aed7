"""Synthetic micro-gestures: an articulated upper body that performs SMG's 17 classes.

The card is datasets/synthetic/README.md.
"""

from microgesture.data.synthetic.dataset import VERSION, generate, generator_hash, load_keypoints
from microgesture.data.synthetic.recordings import generate_recordings

__all__ = ["VERSION", "generate", "generate_recordings", "generator_hash", "load_keypoints"]

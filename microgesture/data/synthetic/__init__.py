"""Synthetic micro-gestures: an articulated upper body that performs SMG's 17 classes.

The card is datasets/synthetic/README.md.
"""

from microgesture.data.synthetic.dataset import MANIFEST, VERSION, generate, generator_hash, load_keypoints
from microgesture.data.synthetic.recordings import generate_recordings

__all__ = ["MANIFEST", "VERSION", "generate", "generate_recordings", "generator_hash", "load_keypoints"]

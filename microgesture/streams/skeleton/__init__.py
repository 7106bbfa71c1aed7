"""Keypoints of one or two people -> class scores, by convolutions over joints and over time."""

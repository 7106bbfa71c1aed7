"""Keypoints of one or two people -> Gaussian volumes, rendered on the device -> class scores, by a 3-D ResNet."""

"""Streams beside FG-SGL: networks that read keypoints, and the fusion of any models by their score files."""

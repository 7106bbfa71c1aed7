"""The RGB stream: where frames are cropped, so that hands and face are large enough to be seen."""

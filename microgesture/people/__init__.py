"""People in pictures: where they are, where their joints are, and who is who from frame to frame."""

"""FG-SGL: everything that inference does not need (data, losses, training, evaluation)."""

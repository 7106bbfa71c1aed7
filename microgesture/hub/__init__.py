"""Publishing on the Hugging Face Hub: checkpoints, adapters and data sets."""

"""Training: a LoRA adapter, or the whole model as the contrast, on rows of training text."""

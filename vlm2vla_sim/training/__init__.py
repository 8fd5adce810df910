"""Training: a LoRA adapter, or a whole model for comparison, on rows of training examples."""

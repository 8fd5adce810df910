"""Text models: transformers in this process, chat servers, and one model for many worker processes."""

"""The model: a small `Gemma3ForConditionalGeneration`, its tokenizer, and its pretraining checkpoints.

- `tokenizer`: words and whole numbers as single tokens.
- `architecture`: sizes, configuration, initial weights and processor.
- `checkpoint`: weights and optimizer state of an unfinished pretraining.
"""

"""Text: action formats with their grammars, prompts, and parsers of answers. Pure Python and NumPy."""

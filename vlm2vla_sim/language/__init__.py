"""Words and numbers: action formats, their grammars, and every prompt we send. Pure, NumPy only."""

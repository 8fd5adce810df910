"""evaluation/operator."""

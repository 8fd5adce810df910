"""What training changed: questions that the base model could answer, and how natural it finds each way to act."""

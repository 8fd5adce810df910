"""policies/models."""

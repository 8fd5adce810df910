"""Gymnasium environments with a WidowX in them: one interface, several backends."""

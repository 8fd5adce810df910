"""Backend "widowx_ai": a Trossen WidowX AI through the vendor's driver, and a mock controller for it."""

"""Training of the teddy contestants and of the attribute reader: one module per model, one loop for all."""

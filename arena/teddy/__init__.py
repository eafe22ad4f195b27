"""The embedded world: teddy bears with known truth, and real diffusion pipelines that draw them."""

"""Which sampler continues sequences best: trials that draw from a trained model instead of training one."""

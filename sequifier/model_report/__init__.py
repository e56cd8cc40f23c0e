"""What a model does well and badly, measured on the validation split: numbers first, then one page."""

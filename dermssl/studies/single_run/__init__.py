"""One fine-tuned run evaluated."""

"""Fine-tuned runs compared."""

"""Is a pretraining going well? Measures, rules and the panel that shows them."""

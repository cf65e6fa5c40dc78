"""Self-supervised pretraining, fine-tuning and honest comparison of skin-lesion classifiers."""

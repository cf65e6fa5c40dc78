"""What a model does without the lesion, or with artefacts."""

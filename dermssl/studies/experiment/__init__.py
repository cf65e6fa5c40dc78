"""Many runs from one file: arms, label counts, seeds."""

"""One folder a study: compute, wording, report, figures."""

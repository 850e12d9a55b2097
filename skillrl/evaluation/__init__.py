"""Fixed manifests, success with confidence intervals, and the evaluations of a run."""

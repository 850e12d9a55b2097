"""Evaluates policies on fixed manifests: success rates with confidence intervals."""

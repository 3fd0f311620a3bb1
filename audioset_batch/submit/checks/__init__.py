"""Preflight: what `audioset-batch check` looks at. Every check yields findings and raises nothing."""

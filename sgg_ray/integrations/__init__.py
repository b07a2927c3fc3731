"""Guidance in others' training loops: :mod:`.transformers` for Trainer and TRL, :mod:`.torch` for your own loop."""

"""Text to `Spec` to `Network`: the language, without torch."""

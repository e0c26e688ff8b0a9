"""Make, clean, route and ask for feedback: steps that change feedback, say why, and can be undone."""

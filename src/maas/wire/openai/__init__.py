"""OpenAI's routes and handlers."""

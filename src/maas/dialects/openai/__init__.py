"""OpenAI's API: chat completions, completions, the list of models.

Requests are read as OpenAI's own server reads them: unknown parameters pass, null is the same as
absent, and what is of a wrong type or out of range is refused naming it. Facts: the types of the
`openai` package, and OpenAI's API reference.
"""

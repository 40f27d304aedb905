"""Tensors in JSON, as every JSON dialect reads and writes them.

body ─▶ document.read ─▶ arrays.to_array ─▶ NumPy array
        (outline: where the lists of a large body open and close)
NumPy array ─▶ text.array_text ─▶ JSON text
"""

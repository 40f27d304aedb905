"""Tables and single arrays, as several dialects send them, read as a model's inputs.

names and columns of cells ─▶ columns.read_table ─▶ NumPy arrays under the inputs' names
CSV ─▶ sheet.read_csv ─┘             .npy ─▶ npy.read_npy ─▶ one NumPy array
"""

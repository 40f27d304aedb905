"""From a file to a proven version: detect → scan → inspect → lower → prove → time → commit.

`pipeline` is the entry; `child` runs everything that opens the file, in a process of its own.
"""

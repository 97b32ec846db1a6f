"""Proposal generators: each file or folder is one, named after it. A folder's `__init__` declares
the generator and imports neither PyTorch nor OpenCV; what computes is in its other modules."""

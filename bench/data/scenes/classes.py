"""The twenty classes of generated objects: five silhouettes x four textures.

Neither silhouette nor texture alone tells the class, and colour tells nothing: it is drawn per
object.
"""

from __future__ import annotations

SHAPES = ("star", "ring", "house", "fish", "tree")
TEXTURES = ("striped", "checked", "dotted", "blotched")
CLASSES = [f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES]

"""Semantic segmentation: protocols, dilated backbones, heads, training, inference, metrics."""

"""Semantic segmentation: the protocol, dilated backbones and heads, training, inference, metrics."""

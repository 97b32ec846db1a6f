"""Detection and instance segmentation: protocols, engines, training, evaluation."""

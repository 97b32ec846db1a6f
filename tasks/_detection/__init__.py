"""Detection and instance segmentation: the protocol, the torchvision engine, training, evaluation."""

"""Classification by fine-tuning: what its tasks share."""

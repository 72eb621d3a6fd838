"""Fine-tuning of the exemplar encoder on the labels."""

READOUT = "finetune"

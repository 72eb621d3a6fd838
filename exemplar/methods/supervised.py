"""Supervised training of the same network: fine-tuning that starts from random filters."""

READOUT = "finetune"

"""Training for ISD-MAE: prepare, pre-train with dual masks, fine-tune, evaluate, export."""

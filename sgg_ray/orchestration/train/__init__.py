"""`sgg train`: guided fine-tuning under Ray Train, its baseline and calibration."""

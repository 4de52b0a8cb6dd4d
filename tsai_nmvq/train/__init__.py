"""Training: a fastai Learner for each stage, and what they share."""

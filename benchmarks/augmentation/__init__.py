"""Does it pay: classifiers trained with and without augmentations, on small and on imbalanced sets."""

"""Series as users have them: labels, specs, checked rows, loaders and file readers."""

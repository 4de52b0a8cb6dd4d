"""The commands `nmvq_demo`, `nmvq_fit`, `nmvq_sample` and `nmvq_evaluate`, which are functions too."""

"""What is measured of tsai_nmvq, and the tables that say it."""

"""How close synthetic series are to real ones: arrays [n, c_in, seq_len] in, numbers out, on the device of the data."""

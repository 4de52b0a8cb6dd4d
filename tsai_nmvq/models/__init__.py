"""The three networks and what they are made of: bands, quantizer, tokenizer, decoding, prior, mapper."""

"""How each row is measured once, with the processor time and memory that it took."""

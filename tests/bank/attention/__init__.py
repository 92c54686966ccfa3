"""The bank of attention: right kernels of unusual structure, wrong ones, and a search for inputs on which they err."""

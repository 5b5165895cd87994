"""Framework readers: verified bytes in, a model or tensors of the framework out."""

"""The fused plan of a model: how it is made, compared, kept and served."""

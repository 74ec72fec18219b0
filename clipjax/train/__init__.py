"""Contrastive training: losses that are exact at any scale, and what drives them."""

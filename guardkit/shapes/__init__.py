"""Shapes world: a tiny text-to-image model with forbidden concepts, and a judge that reads its pictures.

Everything that acts inside a generator (`guardkit.steer`, a bottleneck) is tested on it, for it truly generates: captions of
coloured shapes, a text encoder, a denoiser, a sampler in numpy. What is forbidden stands harmlessly for what harms.
"""

"""Numerics that know no model: matching of subcomponents to features, the live part of a spectrum."""

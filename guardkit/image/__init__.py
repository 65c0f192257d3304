"""Steps on pixels: they measure and change images, and know no thresholds."""

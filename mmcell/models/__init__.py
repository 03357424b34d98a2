"""Models: attention, backbones, heads for dense images, detectors around detectors. Each is a file, listed nowhere."""

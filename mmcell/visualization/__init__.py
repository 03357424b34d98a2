"""Colors, and the visualizer that draws cells."""

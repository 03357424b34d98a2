"""What makes results visible and carries them elsewhere: overlays, the report page, exports."""

"""The plots, as SVG: what is drawn is what was measured, readable without colour."""

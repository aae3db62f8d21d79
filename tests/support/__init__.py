"""What several test files need: images, backbones, settings, a world of vectors, results, and the program itself."""

"""Whether the parts of an installation really work: asked through their real interfaces, with cause and remedy."""

"""Front ends: what other projects' model files become."""

